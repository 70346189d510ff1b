package cacheproxy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Objects are hubs and filters that operators have made by requests. They are in a
// file beside the store's own, written as they would stand in the configuration,
// and are decoded with it, at the end of its lists: what reads the one reads both.

// sections are those that objects may be in.
var sections = []string{"hubs", "filters"}

// objectLine is added to the lines of the objects' file, so that a problem tells
// which of the two it is in. A configuration has fewer lines.
const objectLine = 1 << 24

// objects are what of a configuration is from the file of objects.
type objects struct {
	file  string
	names map[string][]string // by section
}

// objectsFile is where the objects are.
func (c *Config) objectsFile() string {
	return filepath.Join(c.Storage.Local.Path, ".meta", "objects.yaml")
}

// Made reports whether the hub or filter of that name was made by a request;
// section is hubs or filters.
func (c *Config) Made(section, name string) bool {
	return c.objects != nil && slices.Contains(c.objects.names[section], name)
}

// located is where a line is: in the configuration's file, or in the objects'.
func (o *objects) located(file string, line int) (string, int) {
	if o != nil && line > objectLine {
		return o.file, line - objectLine
	}
	return file, line
}

// parseWhole is parse with the objects that are beside the store.
func parseWhole(file string, text []byte) (*Config, []Warning, error) {
	c, warnings, err := parse(file, text)
	if err != nil {
		return nil, warnings, err
	}
	made, err := readObjects(c.objectsFile())
	if err != nil {
		return nil, warnings, err
	}
	if len(made) == 0 {
		return c, warnings, nil
	}
	return parseBoth(file, text, c.objectsFile(), made)
}

// readObjects is the content of the file; nil if there is none.
func readObjects(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hubs and filters made by requests: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("hubs and filters made by requests: %w", err)
	}
	return text, nil
}

// LoadDefault is [Default] as a server has it that was given no file: with the
// hubs and filters that were made by requests.
func LoadDefault() (*Config, []Warning, error) { return parseWhole("config.yaml", reference) }

// add puts the objects of made behind what root has.
func (d *decoder) add(root *yaml.Node, file string, made []byte) *yaml.Node {
	d.objects = &objects{file: file, names: map[string][]string{}}
	more, ok := d.document(made)
	if !ok || len(made) > maxConfig {
		for i := range d.problems {
			d.problems[i].Line += objectLine
		}
		if ok {
			d.problem(objectLine+1, "", "larger than %v", Size(maxConfig))
		}
		return root
	}
	shift(more, map[*yaml.Node]bool{})
	if isNull(more) {
		return root
	}
	whole := &yaml.Node{Kind: yaml.MappingNode, Line: root.Line}
	if root.Kind == yaml.MappingNode {
		whole.Content = slices.Clone(root.Content)
	} else if !isNull(root) {
		return root // which is a problem of its own
	}
	if more.Kind != yaml.MappingNode {
		d.problem(more.Line, "", "want a mapping, have %s", kind(more))
		return root
	}
	for i := 0; i+1 < len(more.Content); i += 2 {
		key, list := more.Content[i], resolve(more.Content[i+1])
		if !slices.Contains(sections, key.Value) || list.Kind != yaml.SequenceNode {
			d.problem(key.Line, key.Value, "only lists of hubs and filters are made by requests")
			continue
		}
		for _, e := range list.Content {
			d.objects.names[key.Value] = append(d.objects.names[key.Value], nameOf(e))
		}
		appendTo(whole, key, list)
	}
	return whole
}

// appendTo puts a list behind the one that m has under the same key.
func appendTo(m, key, list *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != key.Value {
			continue
		}
		both := *resolve(m.Content[i+1])
		if isNull(&both) {
			both = *list
		} else if both.Kind == yaml.SequenceNode {
			both.Content = append(slices.Clone(both.Content), list.Content...)
		}
		m.Content[i+1] = &both
		return
	}
	m.Content = append(m.Content, key, list)
}

// shift moves the lines of a node, and of all below it.
func shift(n *yaml.Node, seen map[*yaml.Node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	n.Line += objectLine
	shift(n.Alias, seen)
	for _, c := range n.Content {
		shift(c, seen)
	}
}

// nameOf is the name of an object; "" if it has none.
func nameOf(n *yaml.Node) string {
	n = resolve(n)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" {
				return n.Content[i+1].Value
			}
		}
	}
	return ""
}

// An ObjectRecord says of a part of the configuration what it is and where it is from.
type ObjectRecord struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // a hub's type, a filter's kind
	Made bool   `json:"made"` // by a request; else it is in the configuration's file
}

// configuration is what operators may make; nil if no configuration can be read again.
func (a *operators) configuration(cfg *Config) *admin.Config {
	s := a.server
	if s.options.Load == nil {
		return nil
	}
	// Who may write configuration may have the process read files and send them
	// somewhere: on a machine of several users that is for those with the token.
	guarded := func(f func() (any, error)) (any, error) {
		if !cfg.Admin.Token.IsSet() {
			return nil, &exchange.Error{Status: http.StatusForbidden, Reason: "token-required", Message: "the configuration is changed only where admin.token is set"}
		}
		return f()
	}
	return &admin.Config{
		Sections: sections,
		List:     func(section string) (any, error) { return s.revision().config.records(section), nil },
		Show:     func(section, name string) (any, error) { return s.revision().config.object(section, name) },
		Put: func(section, name string, text []byte) (any, error) {
			return guarded(func() (any, error) { return s.putObject(section, name, text) })
		},
		Delete: func(section, name string) (any, error) {
			return guarded(func() (any, error) { return s.deleteObject(section, name) })
		},
	}
}

func (c *Config) records(section string) []ObjectRecord {
	all := []ObjectRecord{}
	add := func(name, kind string) { all = append(all, ObjectRecord{name, kind, c.Made(section, name)}) }
	if section == "hubs" {
		for _, h := range c.Hubs {
			add(h.Name, string(h.Type))
		}
		return all
	}
	for _, f := range c.Filters {
		add(f.Name, f.Kind)
	}
	return all
}

// object is one of them as check -print shows it.
func (c *Config) object(section, name string) (any, error) {
	var n *yaml.Node
	for i := range c.Hubs {
		if section == "hubs" && c.Hubs[i].Name == name {
			n = encode(reflect.ValueOf(c.Hubs[i]))
		}
	}
	for i := range c.Filters {
		if section == "filters" && c.Filters[i].Name == name {
			n = encode(reflect.ValueOf(c.Filters[i]))
		}
	}
	if n == nil {
		return nil, fmt.Errorf("no %s in %s: %w", name, section, fs.ErrNotExist)
	}
	var v map[string]any
	err := n.Decode(&v)
	return v, err
}

// putObject makes an object, or changes one that was made so.
func (s *Server) putObject(section, name string, text []byte) (any, error) {
	d := &decoder{lines: map[string]int{}}
	n, ok := d.document(text)
	if !ok || n.Kind != yaml.MappingNode {
		return nil, &exchange.Error{Status: http.StatusBadRequest, Message: "want one mapping, as YAML or JSON"}
	}
	switch nameOf(n) {
	case name:
	case "":
		n.Content = append([]*yaml.Node{stringNode("name"), stringNode(name)}, n.Content...)
	default:
		return nil, &exchange.Error{Status: http.StatusBadRequest, Message: "the name is not that of the address"}
	}
	return s.changeObjects(section, name, func(list *yaml.Node, at int) error {
		if at < 0 {
			list.Content = append(list.Content, n)
		} else {
			list.Content[at] = n
		}
		return nil
	})
}

func (s *Server) deleteObject(section, name string) (any, error) {
	return s.changeObjects(section, name, func(list *yaml.Node, at int) error {
		if at < 0 {
			return fmt.Errorf("no %s in %s: %w", name, section, fs.ErrNotExist)
		}
		list.Content = slices.Delete(list.Content, at, at+1)
		return nil
	})
}

// changeObjects changes a section of the file of objects, and puts the whole
// configuration in force with it; or leaves everything as it was.
func (s *Server) changeObjects(section, name string, change func(list *yaml.Node, at int) error) (any, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	cfg := s.revision().config
	if !cfg.Made(section, name) && slices.ContainsFunc(cfg.records(section), func(r ObjectRecord) bool { return r.Name == name }) {
		return nil, &exchange.Error{Status: http.StatusConflict, Message: name + " is in the configuration's file, and is changed there"}
	}
	file := cfg.objectsFile()
	before, err := readObjects(file)
	if err != nil {
		return nil, err
	}
	doc := map[string]*yaml.Node{}
	var lists map[string]yaml.Node
	if err := yaml.Unmarshal(before, &lists); err != nil {
		return nil, err
	}
	for _, section := range sections {
		list := lists[section]
		list.Kind = yaml.SequenceNode
		doc[section] = &list
	}
	list := doc[section]
	if err := change(list, slices.IndexFunc(list.Content, func(n *yaml.Node) bool { return nameOf(n) == name })); err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return nil, err
	}
	if err := cfg.tryObjects(file, text); err != nil {
		return nil, refusal(err)
	}
	if err := replaceFile(file, text, 0o600); err != nil {
		return nil, err
	}
	if err := s.Reread(); err != nil {
		if undone := restore(file, before); undone != nil {
			s.log.Error("hubs and filters made by requests are not as before", "file", file, "err", undone)
		}
		return nil, refusal(err)
	}
	s.log.Info("configuration changed by an operator", "section", section, "name", name)
	return s.operators.inForce(), nil
}

// tryObjects says what would be wrong with the configuration if its objects were text.
func (c *Config) tryObjects(file string, text []byte) error {
	own, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		own, err = reference, nil
	}
	if err == nil {
		_, _, err = parseBoth(c.file, own, file, text)
	}
	return err
}

// restore makes the content of a file what it was; nil: there was none.
func restore(file string, text []byte) error {
	if text == nil {
		return os.Remove(file)
	}
	return replaceFile(file, text, 0o600)
}
