package pkgs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "git.jeffthecoder.xyz/guochao/cache-proxy"

// allowed is what a package may import of ours; a pattern as [path.Match] knows
// it. The first pattern of a package counts. Imports point down, siblings never
// see each other, nothing in pkgs imports the root.
var allowed = []struct {
	pkg     string
	imports []string
}{
	{"pkgs", nil},
	{"pkgs/freshness", nil},
	{"pkgs/exchange", []string{"pkgs/freshness"}},

	// Readers of foreign formats, which know nothing of what they are read for.
	{"pkgs/format/*", nil},

	// A transport, below upstream.
	{"pkgs/http1", nil},

	// Contracts. A hub teaches the ledger.
	{"pkgs/hub", vocabulary("pkgs/ledger")},
	{"pkgs/store", vocabulary()},
	{"pkgs/ledger", vocabulary()},

	// For tests: see testOnly.
	{"pkgs/proxytest", vocabulary()},
	{"pkgs/store/storetest", vocabulary("pkgs/store")},
	{"pkgs/hub/hubtest", vocabulary("pkgs/hub")},

	// Parts.
	{"pkgs/hub/*", vocabulary("pkgs/hub", "pkgs/ledger", "pkgs/format/*")},
	{"pkgs/store/*", vocabulary("pkgs/store")},
	{"pkgs/cache", vocabulary("pkgs/store", "pkgs/ledger")},
	{"pkgs/edge", vocabulary("pkgs/hub")},
	{"pkgs/upstream", vocabulary("pkgs/http1")},
	{"pkgs/filter", vocabulary()},
	{"pkgs/filter/*", vocabulary("pkgs/filter")},
	{"pkgs/observe", vocabulary()},
	{"pkgs/front", vocabulary()},
	{"pkgs/admin", vocabulary("pkgs/hub", "pkgs/store", "pkgs/ledger")},
	{"pkgs/welcome", nil},
	{"pkgs/middleware/*", vocabulary()},

	{".", []string{"pkgs/*", "pkgs/*/*"}},
	// Of the parts the command has the readers of formats alone, for indexes and lock
	// files that it reads itself: they know nothing of the proxy.
	{"cmd/cache-proxy", []string{".", "pkgs/format/*"}},
}

func vocabulary(more ...string) []string {
	return append([]string{"pkgs/exchange", "pkgs/freshness"}, more...)
}

// testOnly may be imported from tests of every layer, and from nothing else.
var testOnly = []string{"pkgs/proxytest", "pkgs/store/storetest", "pkgs/hub/hubtest"}

// thirdParty has the one package that may import a module, and why.
var thirdParty = map[string]struct{ importer, why string }{
	"gopkg.in/yaml.v3":                    {".", "the configuration's syntax"},
	"github.com/getsentry/sentry-go":      {"pkgs/observe", "the protocol of error reports"},
	"github.com/prometheus/client_golang": {"pkgs/observe", "the exposition format of metrics, and those of the Go runtime"},
	"go.opentelemetry.io/otel":            {"pkgs/observe", "traces, and the protocol that collectors speak (OTLP)"},
	"github.com/schollz/progressbar/v3":   {"cmd/cache-proxy", "how far a measurement of mirrors is, on a terminal"},
	"github.com/spf13/cobra":              {"cmd/cache-proxy", "sub-commands with their help, shell completions and manual pages"},
	"golang.org/x/term":                   {"cmd/cache-proxy", "whether standard error is a terminal"},
	"github.com/klauspost/compress":       {"pkgs/hub", "indexes come packed: gzip and zstd"},
	"github.com/ulikunitz/xz":             {"pkgs/hub", "indexes come packed: xz"},
	"github.com/fsnotify/fsnotify":        {".", "changes of the configuration's files"},
	"golang.org/x/crypto/acme":            {".", "certificates by ACME"},
	"github.com/go-jose/go-jose/v4":       {"pkgs/filter", "signed tokens and the keys of their issuers"},
	"golang.org/x/crypto/bcrypt":          {"pkgs/filter", "passwords of htpasswd files"},
	"golang.org/x/sys":                    {"pkgs/store/disk", "extended attributes, statfs and locks"},
	"golang.org/x/mod":                    {"pkgs/hub/gomod", "module paths, checksum databases and h1 hashes"},
	"golang.org/x/time":                   {"pkgs/upstream", "buckets of bytes a second"},
	"github.com/cespare/xxhash/v2":        {"pkgs/exchange", "a digest that tells damage and costs next to nothing, in assembly"},
	"github.com/tinylib/msgp":             {"pkgs/format/msgpack", "MessagePack, read as a stream"},
	"google.golang.org/protobuf":          {"pkgs/format/protobuf", "the wire format of Protocol Buffers"},
	"github.com/stretchr/testify":         {"", "assertions, in every test and in the suites for tests"},
}

// unused are folders that hold no package of the program.
var unused = []string{".git", ".ci", "testdata", "data", "node_modules", "bench"}

func TestLayers(t *testing.T) {
	seen := 0
	root := ".."
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (slices.Contains(unused, d.Name()) || strings.HasPrefix(d.Name(), "_")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		seen++
		file(t, name, filepath.ToSlash(rel))
		return nil
	})
	require.NoError(t, err)
	assert.Greater(t, seen, 20, "the files must be found for this to mean anything")
}

// file checks the imports of one file, rel to the module's root.
func file(t *testing.T, name, rel string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if !assert.NoError(t, err) {
		return
	}
	pkg, test := path.Dir(rel), strings.HasSuffix(rel, "_test.go")
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		if reason := forbidden(pkg, imported, test); reason != "" {
			t.Errorf("%s imports %s: %s", rel, imported, reason)
		}
	}
}

// forbidden says why a file of pkg must not import a package; "" if it may.
func forbidden(pkg, imported string, test bool) string {
	ours, own := strings.CutPrefix(imported+"/", module+"/")
	if !own {
		return foreign(pkg, imported, test)
	}
	ours = path.Clean(ours)
	switch {
	case ours == pkg && test:
		return ""
	case slices.Contains(testOnly, ours):
		if test {
			return ""
		}
		return "it is for tests"
	case ours == "pkgs/store/mem" && test: // a real store, and quick: better than a fake
		return ""
	}
	for _, a := range allowed {
		if !match(a.pkg, pkg) {
			continue
		}
		if slices.ContainsFunc(a.imports, func(pattern string) bool { return match(pattern, ours) }) {
			return ""
		}
		return "not in the table of layers"
	}
	return "its package is not in the table of layers"
}

func foreign(pkg, imported string, test bool) string {
	host, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(host, ".") {
		return "" // the standard library
	}
	for module, only := range thirdParty {
		if imported != module && !strings.HasPrefix(imported, module+"/") {
			continue
		}
		switch {
		case only.importer == pkg:
			return ""
		case only.importer == "" && (test || slices.Contains(testOnly, pkg)):
			return ""
		case test && pkg == "cmd/cache-proxy": // for servers that real clients are tested with
			return ""
		}
		return "the module is for " + only.why + ", in " + strconv.Quote(only.importer)
	}
	return "the module is not in the table of third parties"
}

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		name, pkg, imported string
		test, ok            bool
	}{
		{"down", "pkgs/cache", module + "/pkgs/store", false, true},
		{"up", "pkgs/exchange", module + "/pkgs/cache", false, false},
		{"sibling", "pkgs/cache", module + "/pkgs/upstream", false, false},
		{"sibling from a test", "pkgs/cache", module + "/pkgs/store/disk", true, false},
		{"the root", "pkgs/edge", module, false, false},
		{"root from cmd", "cmd/cache-proxy", module, false, true},
		{"a part from cmd", "cmd/cache-proxy", module + "/pkgs/cache", false, false},
		{"suite from a test", "pkgs/store/disk", module + "/pkgs/store/storetest", true, true},
		{"suite from the program", "pkgs/store/disk", module + "/pkgs/store/storetest", false, false},
		{"suite from the root", ".", module + "/pkgs/proxytest", false, false},
		{"part from the root", ".", module + "/pkgs/store/disk", false, true},
		{"itself from an outer test", "pkgs/cache", module + "/pkgs/cache", true, true},
		{"unknown package", "pkgs/util", module + "/pkgs/exchange", false, false},
		{"standard library", "pkgs/exchange", "net/http", false, true},
		{"module in its place", "pkgs/observe", "github.com/getsentry/sentry-go", false, true},
		{"module elsewhere", "pkgs/cache", "github.com/getsentry/sentry-go", false, false},
		{"testify in the program", "pkgs/cache", "github.com/stretchr/testify/assert", false, false},
		{"testify in a suite", "pkgs/store/storetest", "github.com/stretchr/testify/assert", false, true},
		{"unknown module", "pkgs/cache", "example.org/left-pad", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.ok, forbidden(c.pkg, c.imported, c.test) == "")
		})
	}
}
