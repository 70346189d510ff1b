package cacheproxy

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
)

// Filter is one that flows may name. Beside kind and name it has the options of
// its kind, which docs/filters.md lists.
type Filter struct {
	Kind string `yaml:"kind,required"` // one of those in docs/filters.md.

	// What flows call it, unique: letters, digits and . _ - within; neither cache nor
	// END. What it counts is kept over a reload as long as kind and name stay.
	Name string `yaml:"name,required"`

	// A pointer to the options of the kind. Nil if the kind is unknown.
	Options any
}

// Step is a filter's place in a flow.
type Step struct {
	Filter string `yaml:"filter,required"` // the name of a filter, or cache: the cache itself

	// What jumps call this step, where a filter is in a flow twice. Default the filter's name.
	Alias string `yaml:"alias,omitzero"`

	// Where the flow goes on after a result of the filter: at a later step, or END.
	// A result that is not here ends the flow if it is a refusal or an answer.
	JumpIf map[string]string `yaml:"jumpIf,omitzero"`
}

// filter decodes a filter, whose kind says what else is in it.
func (d *decoder) filter(n *yaml.Node, path string, to *Filter) {
	if n.Kind != yaml.MappingNode {
		d.problem(n.Line, path, "want a mapping, have %s", kind(n))
		return
	}
	options := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	for key, value := range d.pairs(n, path) {
		v := reflect.ValueOf(&to.Kind)
		switch key.Value {
		case "kind":
		case "name":
			v = reflect.ValueOf(&to.Name)
		default:
			options.Content = append(options.Content, key, value)
			continue
		}
		if at := join(path, key.Value); d.once(key, at) {
			d.decode(value, at, v.Elem())
		}
	}
	for _, required := range []struct{ key, value string }{{"kind", to.Kind}, {"name", to.Name}} {
		if required.value == "" {
			d.problem(d.line(join(path, required.key)), join(path, required.key), "required")
		}
	}
	if to.Kind == "" {
		return
	}
	k, ok := filters[to.Kind]
	if !ok {
		all := slices.Sorted(maps.Keys(filters))
		d.reject(join(path, "kind"), "%v%s", notOneOf(to.Kind, all...), hint(to.Kind, all))
		return
	}
	to.Options = k.Options()
	d.mapping(options, path, reflect.ValueOf(to.Options).Elem())
}

// foreign decodes values of types that options of filters have, which know nothing
// of this package. It reports false for all others.
func (d *decoder) foreign(n *yaml.Node, path string, v reflect.Value) bool {
	var set func(s string) error
	switch to := v.Addr().Interface().(type) {
	case setter: // of this package, whatever else it is
		return false
	case *Filter:
		d.filter(n, path, to)
		return true
	case *filter.Secret:
		var secret Secret
		d.secret(n, path, &secret)
		*to = filter.Secret(secret.Value())
		return true
	case *time.Duration:
		set = (*Duration)(to).set
	case *time.Time:
		set = func(s string) (err error) {
			if *to, err = time.Parse(time.DateOnly, s); err == nil {
				return nil
			}
			if *to, err = time.Parse(time.RFC3339, s); err != nil {
				return fmt.Errorf("%q is no time such as 2026-12-31 or 2026-12-31T18:00:00Z", s)
			}
			return nil
		}
	case **regexp.Regexp:
		set = func(s string) error {
			var re Regexp
			err := re.set(s)
			*to = re.Regexp
			return err
		}
	case **url.URL:
		set = func(s string) error {
			var u URL
			err := u.set(s)
			*to = u.URL
			return err
		}
	case *netip.Prefix:
		set = func(s string) error {
			var p Prefix
			err := p.set(s)
			*to = p.Prefix
			return err
		}
	case encoding.TextUnmarshaler:
		set = func(s string) error { return to.UnmarshalText([]byte(s)) }
	default:
		return false
	}
	if s, ok := d.scalar(n, path, true); ok {
		if err := set(s); err != nil {
			d.problem(n.Line, path, "%v", err)
		}
	}
	return true
}

// flows checks filters, and the flows that name them.
func (d *decoder) flows(c *Config) {
	kinds, used := map[string]filter.Kind{}, map[string]bool{}
	for i := range c.Filters {
		f, at := &c.Filters[i], fmt.Sprintf("filters[%d]", i)
		_, twice := kinds[f.Name]
		switch {
		case f.Name == "": // required
		case f.Name == filter.End || f.Name == filter.CacheName:
			d.reject(at+".name", "%s is reserved", f.Name)
		case len(f.Name) > 64 || strings.ContainsFunc(f.Name, func(r rune) bool { return r != '.' && r != '-' && !isVariable("_"+string(r)) }):
			d.reject(at+".name", "%q is no name: at most 64 letters, digits and . _ -", f.Name)
		case twice:
			d.reject(at+".name", "%s is the name of another filter already", f.Name)
		default:
			kinds[f.Name] = filters[f.Kind]
		}
		if checker, ok := f.Options.(filter.Checker); ok {
			checker.Check(func(path, format string, args ...any) {
				if path != "" && path[0] != '[' {
					path = "." + path
				}
				d.reject(at+path, format, args...)
			})
		}
	}
	check := func(at string, flow []Step) {
		for _, s := range flow {
			used[s.Filter] = true
		}
		filter.CheckFlow(steps(flow), kinds, func(path, format string, args ...any) { d.reject(at+path, format, args...) })
	}
	check("flow", c.Flow)
	d.undated(c)
	for i := range c.Hubs {
		if at := fmt.Sprintf("hubs[%d].flow", i); d.lines[at] != 0 { // else it is the one of all
			check(at, c.Hubs[i].Flow)
		}
	}
	for i, f := range c.Filters {
		if f.Name != "" && !used[f.Name] {
			d.warn(fmt.Sprintf("filters[%d]", i), "no flow has %s: it does nothing", f.Name)
		}
	}
}

// undated warns of filters that let everything pass in a hub which knows no dates.
func (d *decoder) undated(c *Config) {
	needs := map[string]bool{}
	for _, f := range c.Filters {
		if o, ok := f.Options.(filter.Dated); ok && o.NeedsDates() {
			needs[f.Name] = true
		}
	}
	for _, h := range c.Served() {
		for i, s := range h.Flow {
			if !needs[s.Filter] || slices.Contains(dated, h.Module()) {
				continue
			}
			at := fmt.Sprintf("flow[%d]", i)
			if j := slices.IndexFunc(c.Hubs, func(o Hub) bool { return o.Name == h.Name }); j >= 0 && d.lines[fmt.Sprintf("hubs[%d].flow", j)] != 0 {
				at = fmt.Sprintf("hubs[%d].flow[%d]", j, i)
			}
			d.warn(at, "%s lets everything pass in hub %s: type %s does not tell when versions were published", s.Filter, h.Name, h.Module())
		}
	}
}

// steps are those of a flow as package filter has them.
func steps(flow []Step) []filter.Step {
	all := make([]filter.Step, len(flow))
	for i, s := range flow {
		all[i] = filter.Step{Filter: s.Filter, Alias: s.Alias, JumpIf: s.JumpIf}
	}
	return all
}

// encodeFilter is the inverse of decoder.filter. Options that are zero, as they are
// by default, are not written.
func encodeFilter(f Filter) *yaml.Node {
	n := mappingNode(stringNode("kind"), stringNode(f.Kind), stringNode("name"), stringNode(f.Name))
	if f.Options == nil {
		return n
	}
	options, standard := reflect.ValueOf(f.Options).Elem(), reflect.ValueOf(filters[f.Kind].Options()).Elem()
	for i := range options.NumField() {
		if name, _ := tag(options.Type().Field(i)); name != "" && !(options.Field(i).IsZero() && standard.Field(i).IsZero()) {
			n.Content = append(n.Content, stringNode(name), encode(options.Field(i)))
		}
	}
	return n
}
