package admin

import (
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// describedAt is where the description is.
const describedAt = "/api/v1/openapi.json"

// node is an object of the description's JSON.
type node = map[string]any

// describe is a handler that answers with the description of routes: OpenAPI 3.1.
// It is made from the table that serves them, and so are its schemas from the
// types that are decoded and encoded.
func describe(version string, all []Route) http.Handler {
	document := document(version, append(slices.Clip(all), Route{Pattern: "GET " + describedAt, About: "this description"}))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, document) })
}

func document(version string, all []Route) node {
	if version == "" {
		version = "devel"
	}
	d := &description{schemas: node{}}
	failed := node{"description": "why not", "content": content(d.schema(reflect.TypeFor[Error]()))}
	paths := node{}
	for _, r := range all {
		method, path, ok := strings.Cut(r.Pattern, " ")
		if !ok { // of every method: no API
			continue
		}
		at, _ := paths[path].(node)
		if at == nil {
			at = node{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = d.operation(path, &r)
	}
	return node{
		"openapi": "3.1.0",
		"info":    node{"title": "cache-proxy", "version": version, "description": "The listener for operators (admin.listen)."},
		"paths":   paths,
		"components": node{
			"schemas":         d.schemas,
			"responses":       node{"failed": failed},
			"securitySchemes": node{"token": node{"type": "http", "scheme": "bearer", "description": "admin.token, if there is one"}},
		},
		"security": []node{{"token": []string{}}, {}},
	}
}

// A description collects the schemas of the types it meets.
type description struct{ schemas node }

var wildcard = regexp.MustCompile(`\{([a-z]+)\}`)

func (d *description) operation(path string, r *Route) node {
	ok := node{"description": "done"}
	switch {
	case r.Answer != nil:
		ok["content"] = content(d.schema(reflect.TypeOf(r.Answer)))
	case strings.HasPrefix(path, "/api/"):
		ok["content"] = content(node{})
	default:
		ok["content"] = node{"text/plain": node{"schema": node{"type": "string"}}}
	}
	status := "200"
	if r.Answer == (accepted{}) {
		status = "202"
	}
	op := node{"summary": r.About, "responses": node{status: ok, "default": node{"$ref": "#/components/responses/failed"}}}
	var params []node
	for _, m := range wildcard.FindAllStringSubmatch(path, -1) {
		params = append(params, node{"name": m[1], "in": "path", "required": true, "schema": node{"type": "string"}})
	}
	for _, p := range r.Query {
		params = append(params, node{"name": p.Name, "in": "query", "description": p.About, "required": p.Required, "schema": node{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.Body != nil {
		op["requestBody"] = node{"required": true, "content": content(d.schema(reflect.TypeOf(r.Body)))}
	}
	return op
}

func content(schema node) node { return node{"application/json": node{"schema": schema}} }

// schema is the JSON Schema of what encoding/json makes of a type.
func (d *description) schema(t reflect.Type) node {
	if t == reflect.TypeFor[time.Time]() {
		return node{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Bool:
		return node{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return node{"type": "integer"}
	case reflect.Float64:
		return node{"type": "number"}
	case reflect.String:
		return node{"type": "string"}
	case reflect.Slice:
		return node{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return node{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.object(t)
	}
	return node{} // anything
}

// object puts the schema of a struct among the others, and refers to it.
func (d *description) object(t reflect.Type) node {
	reference := node{"$ref": "#/components/schemas/" + t.Name()}
	if d.schemas[t.Name()] != nil {
		return reference
	}
	properties, required := node{}, map[string]bool{}
	s := node{"type": "object", "properties": properties}
	d.schemas[t.Name()] = s
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		properties[name] = d.schema(f.Type)
		if !strings.Contains(options, "omit") {
			required[name] = true
		}
	}
	if len(required) > 0 {
		s["required"] = slices.Sorted(maps.Keys(required))
	}
	return reference
}
