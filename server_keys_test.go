package cacheproxy

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keys calls each with the key paths of what a configuration decodes into, and the
// fields that they set.
func keys(at string, typ reflect.Type, each func(path string, f reflect.StructField)) {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if _, scalar := reflect.New(typ).Interface().(setter); scalar || typ.Kind() != reflect.Struct {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if name, _ := tag(f); name != "" {
			each(join(at, name), f)
			keys(join(at, name), f.Type, each)
		}
	}
}

// trials are the tests that a server or a part of it runs in: scripts and Go files
// under the folders, but for those of the configuration's own syntax.
func trials(t *testing.T, folders ...string) string {
	var all strings.Builder
	add := func(name string, d fs.DirEntry, err error) error {
		base := filepath.Base(name)
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(base, "_test.go"), strings.HasSuffix(base, ".txt") && strings.Contains(name, "testdata"):
			text, err := os.ReadFile(name)
			if !strings.HasPrefix(base, "config_") || bytes.Contains(text, []byte("serverOf(")) {
				all.Write(text)
			}
			return err
		}
		return nil
	}
	for _, folder := range folders {
		require.NoError(t, filepath.WalkDir(folder, add))
	}
	return all.String()
}

// untried are keys without such a test, and why there is none.
var untried = map[string]string{
	"accounts":        "package hub/oci tries them",
	"auth-hosts":      "package hub/oci tries it",
	"email":           "of tls.acme: tests have no authority that would be told it",
	"client-min-rate": "it is over a minute: package front and package edge are tested with rates of their own",
}

// Each key of the configuration is written in a test that runs what it is for; and
// so is each option of a filter, or is set there as a field. That such a test fails
// without the key is its own affair: this one finds keys that all have forgotten.
func TestEveryKeyIsTried(t *testing.T) {
	text := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(trials(t, "."))
	named := map[string]bool{}
	for _, key := range regexp.MustCompile(`[A-Za-z][A-Za-z0-9-]*:`).FindAllString(text, -1) {
		named[strings.TrimSuffix(key, ":")] = true
	}
	keys("", reflect.TypeFor[Config](), func(path string, _ reflect.StructField) {
		name := path[strings.LastIndexByte(path, '.')+1:]
		if why := untried[name]; why == "" {
			assert.True(t, named[name], "no test has %s", path)
		}
	})
	own := trials(t, "pkgs/filter", "testdata", "cmd")
	for kind, k := range filters {
		keys("", reflect.TypeOf(k.Options()), func(path string, f reflect.StructField) {
			name := path[strings.LastIndexByte(path, '.')+1:]
			set := strings.Contains(own, "."+f.Name+" ") || strings.Contains(own, "."+f.Name+",") || strings.Contains(own, "."+f.Name+".") ||
				strings.Contains(own, f.Name+":") || strings.Contains(own, name+":")
			assert.True(t, set, "no test has %s of filter %s", path, kind)
		})
	}
}
