package cacheproxy

import (
	"reflect"
	"strings"
)

// oldName is where a key of the original's earlier versions has moved, "" if it
// was not one.
func oldName(t reflect.Type, name string) string {
	switch t {
	case reflect.TypeFor[Upstream]():
		if name == "match" || name == "replace" {
			return "path." + name
		}
	case reflect.TypeFor[Storage]():
		if name == "accel" {
			return "local.accel"
		}
	case reflect.TypeFor[Accel]():
		if name == "response-with-headers" {
			return "respond-with-headers"
		}
	}
	return ""
}

// field is the field of v that the dotted name means, and the options of its tag.
func field(v reflect.Value, name string) (to reflect.Value, options []string, ok bool) {
	name, below, _ := strings.Cut(name, ".")
	for i := range v.NumField() {
		n, options := tag(v.Type().Field(i))
		if n == "" {
			continue
		}
		if n == name && below == "" {
			return v.Field(i), options, true
		}
		if n == name {
			return field(v.Field(i), below)
		}
	}
	return reflect.Value{}, nil, false
}

// tag is what a field's tag says; the name is "" if it is no key.
func tag(f reflect.StructField) (name string, options []string) {
	parts := strings.Split(f.Tag.Get("yaml"), ",")
	return parts[0], parts[1:]
}

func names(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		if name, _ := tag(t.Field(i)); name != "" {
			all = append(all, name)
		}
	}
	return all
}
