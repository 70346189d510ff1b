package cacheproxy

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// WriteYAML writes the configuration as it is in effect, defaults and all.
// Secrets are masked, but {file: …} is shown as it is.
func (c *Config) WriteYAML(w io.Writer) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(encode(reflect.ValueOf(c).Elem())); err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	return e.Close()
}

// encode is the inverse of the decoder.
func encode(v reflect.Value) *yaml.Node {
	if v.Kind() == reflect.Pointer && v.IsNil() { // of an option of a filter
		return stringNode("")
	}
	switch x := v.Interface().(type) {
	case Secret:
		if x.file != "" {
			return mappingNode(stringNode("file"), stringNode(x.file))
		}
		return stringNode(x.String())
	case Size: // plain bytes, as the original wrote them
		n := plainNode(strconv.FormatInt(int64(x), 10), "!!int")
		if x.String() != n.Value {
			n.LineComment = x.String()
		}
		return n
	case Filter:
		return encodeFilter(x)
	case time.Duration:
		return plainNode(Duration(x).String(), "")
	case *url.URL: // of an option of a filter
		return stringNode(x.Redacted())
	case time.Time: // likewise
		return plainNode(x.Format(time.RFC3339), "")
	case Duration, Space:
		return plainNode(fmt.Sprint(x), "")
	case fmt.Stringer:
		return stringNode(x.String())
	}
	switch v.Kind() {
	case reflect.Struct:
		n := mappingNode()
		for i := range v.NumField() {
			name, options := tag(v.Type().Field(i))
			if name == "" {
				continue
			}
			if v.Field(i).IsZero() && slices.Contains(options, "omitzero") {
				continue
			}
			n.Content = append(n.Content, stringNode(name), encode(v.Field(i)))
		}
		return n
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, encode(v.Index(i)))
		}
		if v.Len() == 0 || v.Index(0).Kind() != reflect.Struct {
			n.Style = yaml.FlowStyle
		}
		return n
	case reflect.Map:
		n := mappingNode()
		values := map[string]*yaml.Node{}
		for key, value := range v.Seq2() {
			values[key.String()] = encode(value)
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			n.Content = append(n.Content, stringNode(key), values[key])
		}
		return n
	case reflect.Int:
		return plainNode(strconv.FormatInt(v.Int(), 10), "!!int")
	case reflect.Bool:
		return plainNode(strconv.FormatBool(v.Bool()), "!!bool")
	}
	return stringNode(v.String())
}

func mappingNode(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: content}
}

func plainNode(value, tag string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: tag}
}

func stringNode(value string) *yaml.Node { return plainNode(value, "!!str") }
