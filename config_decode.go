package cacheproxy

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A decoder turns YAML nodes into a Config and collects every problem on the
// way. The package yaml alone is not strict enough: its KnownFields ends at the
// first custom type, and its errors know no key paths.
//
// Struct tags read `yaml:"name,option…"`: required; single, a list that may be
// written as its only element; template, a string whose ${NAME} is not expanded here;
// last, a field whose defaults are what others hold, so that it is decoded after them;
// omitzero, a field that is not written while it is zero.
type decoder struct {
	config   *Config // what is decoded into
	problems Problems
	warnings []Warning
	objects  *objects       // nil: there are none
	lines    map[string]int // of every key seen, by path
	nodes    int            // visited, aliases followed
}

// A setter is a value written as one scalar.
type setter interface{ set(s string) error }

// A defaulter is a list element with defaults of its own.
type defaulter interface{ setDefaults(c *Config) }

// A shorthand is a mapping that may be written as one scalar.
type shorthand interface{ setShort(s string) error }

const (
	maxNodes    = 100_000 // against aliases of aliases of aliases
	maxProblems = 100
)

func (d *decoder) problem(line int, path, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{Line: line, Path: path, Reason: fmt.Sprintf(format, args...)})
	}
}

// line is where path stands, or the nearest thing around it that stands anywhere.
func (d *decoder) line(path string) int { return lineOf(d.lines, path) }

func lineOf(lines map[string]int, path string) int {
	for {
		if line, ok := lines[path]; ok || path == "" {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// decode stores n in v, which is at path and holds its default.
func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value, options ...string) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.problem(n.Line, path, "too large, aliases counted out")
		}
		return
	}
	n = resolve(n)
	if isNull(n) {
		return
	}
	if d.foreign(n, path, v) {
		return
	}
	switch to := v.Addr().Interface().(type) {
	case *Secret:
		d.secret(n, path, to)
		return
	case setter:
		if s, ok := d.scalar(n, path, true); ok {
			if err := to.set(s); err != nil {
				d.problem(n.Line, path, "%v", err)
			}
		}
		return
	case shorthand:
		if n.Kind == yaml.ScalarNode {
			if s, ok := d.scalar(n, path, true); ok {
				if err := to.setShort(s); err != nil {
					d.problem(n.Line, path, "%v", err)
				}
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, path, v)
	case reflect.Slice:
		d.list(n, path, v, slices.Contains(options, "single"))
	case reflect.Map:
		d.table(n, path, v)
	case reflect.String:
		if s, ok := d.scalar(n, path, !slices.Contains(options, "template")); ok {
			v.SetString(s)
		}
	case reflect.Int:
		if s, ok := d.scalar(n, path, true); ok {
			i, err := strconv.Atoi(s)
			if err != nil {
				d.problem(n.Line, path, "%q is no whole number", s)
				return
			}
			v.SetInt(int64(i))
		}
	case reflect.Bool:
		if s, ok := d.scalar(n, path, true); ok {
			if s != "true" && s != "false" {
				d.problem(n.Line, path, "%q is neither true nor false", s)
			}
			v.SetBool(s == "true")
		}
	default:
		panic("config: no decoding into " + v.Type().String())
	}
}

// mapping decodes the keys of n into the fields of the struct v.
func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(n.Line, path, "want a mapping, have %s", kind(n))
		return
	}
	done := map[string]bool{} // fields with a value, or with a problem
	var last []func()
	for key, value := range d.pairs(n, path) {
		name := key.Value
		if now := oldName(v.Type(), name); now != "" {
			d.warnings = append(d.warnings, Warning{Line: key.Line, Path: join(path, name), Text: "old name of " + join(path, now)})
			name = now
		}
		full := join(path, name)
		to, options, ok := field(v, name)
		if !ok {
			advice := hint(name, names(v.Type()))
			if v.Type() == reflect.TypeFor[Hub]() && name == "port" {
				advice = "; hubs share the addresses of listen, and differ by path and hosts"
			}
			d.problem(key.Line, full, "unknown key%s", advice)
			continue
		}
		if before := len(d.problems); !d.once(key, full) {
			continue
		} else if slices.Contains(options, "last") {
			last = append(last, func() { d.decode(value, full, to, options...) })
		} else {
			d.decode(value, full, to, options...)
			// The zero duration is a value.
			done[name] = len(d.problems) > before || !to.IsZero() || to.Kind() == reflect.Int64 && !isNull(resolve(value))
		}
	}
	for _, decode := range last {
		decode()
	}
	for i := range v.NumField() {
		name, options := tag(v.Type().Field(i))
		if slices.Contains(options, "required") && !done[name] {
			line, ok := d.lines[join(path, name)]
			if !ok {
				line = n.Line
			}
			d.problem(line, join(path, name), "required")
		}
	}
}

// table decodes a mapping with free keys.
func (d *decoder) table(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(n.Line, path, "want a mapping, have %s", kind(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for key, value := range d.pairs(n, path) {
		full := join(path, key.Value)
		if d.once(key, full) {
			to := reflect.New(v.Type().Elem()).Elem()
			d.decode(value, full, to)
			v.SetMapIndex(reflect.ValueOf(key.Value), to)
		}
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, single bool) {
	elements := n.Content
	if n.Kind != yaml.SequenceNode {
		if !single {
			d.problem(n.Line, path, "want a list, have %s", kind(n))
			return
		}
		elements = []*yaml.Node{n}
	}
	out := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	for i, e := range elements {
		full := path
		if n.Kind == yaml.SequenceNode {
			full = fmt.Sprintf("%s[%d]", path, i)
		}
		d.lines[full] = e.Line
		to := out.Index(i)
		if def, ok := to.Addr().Interface().(defaulter); ok {
			def.setDefaults(d.config)
		}
		if isNull(resolve(e)) {
			d.problem(e.Line, full, "empty")
			continue
		}
		d.decode(e, full, to)
	}
	v.Set(out)
}

func (d *decoder) secret(n *yaml.Node, path string, to *Secret) {
	if n.Kind != yaml.MappingNode {
		if s, ok := d.scalar(n, path, true); ok {
			_ = to.set(s)
		}
		return
	}
	var from struct {
		File string `yaml:"file,required"`
	}
	before := len(d.problems)
	d.mapping(n, path, reflect.ValueOf(&from).Elem())
	if len(d.problems) > before {
		return
	}
	if err := to.read(from.File); err != nil {
		d.problem(n.Line, path, "%v", err)
	}
	if d.config != nil {
		d.config.secrets = append(d.config.secrets, from.File)
	}
}

// scalar is the text of n with the environment's variables in it.
func (d *decoder) scalar(n *yaml.Node, path string, expanded bool) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.problem(n.Line, path, "want a single value, have %s", kind(n))
		return "", false
	}
	if !expanded {
		return n.Value, true
	}
	s, err := expand(n.Value, func(string) bool { return false })
	if err != nil {
		d.problem(n.Line, path, "%v", err)
		return "", false
	}
	return s, true
}

// once notes where the key at path stands, and refuses a second one.
func (d *decoder) once(key *yaml.Node, path string) bool {
	if first, ok := d.lines[path]; ok {
		d.problem(key.Line, path, "set twice, first in line %d", first)
		return false
	}
	d.lines[path] = key.Line
	return true
}

// pairs walks keys and values of a mapping; those merged in (<<) come last and
// only where the mapping has no key of its own.
func (d *decoder) pairs(n *yaml.Node, path string) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		var merged []*yaml.Node
		own := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
			switch {
			case key.Kind != yaml.ScalarNode:
				d.problem(key.Line, path, "a key that is %s", kind(key))
			case key.Tag == "!!merge" && value.Kind == yaml.MappingNode:
				merged = append(merged, value)
			case key.Tag == "!!merge" && value.Kind == yaml.SequenceNode:
				for _, e := range value.Content {
					merged = append(merged, resolve(e))
				}
			case !yield(key, value):
				return
			default:
				own[key.Value] = true
			}
		}
		for _, m := range merged {
			if m.Kind != yaml.MappingNode {
				d.problem(m.Line, path, "merges %s, not a mapping", kind(m))
				continue
			}
			for i := 0; i+1 < len(m.Content); i += 2 {
				key, value := resolve(m.Content[i]), resolve(m.Content[i+1])
				if key.Kind == yaml.ScalarNode && !own[key.Value] {
					own[key.Value] = true
					if !yield(key, value) {
						return
					}
				}
			}
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// resolve follows an alias; one of an alias is none in YAML.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

// join is the path of a key below path.
func join(path, key string) string {
	if strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && r != '.' && !isVariable("_"+string(r))
	}) || key == "" {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
