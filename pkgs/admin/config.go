package admin

import (
	"io"
	"net/http"
)

// A Config is parts of the configuration that are made, changed and deleted by
// requests, and kept over restarts. Sections are those that have such parts. Its
// errors say what is wrong with a part.
type Config struct {
	Sections []string // hubs, filters

	List   func(section string) (any, error)
	Show   func(section, name string) (any, error)
	Put    func(section, name string, text []byte) (any, error)
	Delete func(section, name string) (any, error)
}

// parts are the routes of those.
func (o *Options) parts() (all []Route) {
	c := o.Config
	if c == nil {
		return nil
	}
	for _, section := range c.Sections {
		at := "/api/v1/config/" + section
		one := at + "/{name}"
		all = append(all,
			Route{Pattern: "GET " + at, About: "the " + section + " of the configuration, and where each is from", Handler: answer(func(*http.Request) (any, error) {
				return c.List(section)
			})},
			Route{Pattern: "GET " + one, About: "one of them, secrets masked", Handler: answer(func(r *http.Request) (any, error) {
				return c.Show(section, r.PathValue("name"))
			})},
			Route{Pattern: "PUT " + one, About: "makes or changes one, given as it would stand in the configuration: YAML or JSON", Body: map[string]any{}, Handler: answer(func(r *http.Request) (any, error) {
				text, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, unread(err)
				}
				return c.Put(section, r.PathValue("name"), text)
			})},
			Route{Pattern: "DELETE " + one, About: "deletes one that was made here", Handler: answer(func(r *http.Request) (any, error) {
				return c.Delete(section, r.PathValue("name"))
			})},
		)
	}
	return all
}
