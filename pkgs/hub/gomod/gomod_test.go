package gomod

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

const db = "sum.example.org"

func newHub(t testing.TB, o hub.Options, opts Options) *Hub {
	t.Helper()
	o.Name = "go"
	if opts.Sumdb == nil {
		opts.Sumdb = []string{db}
	}
	h, err := New(o, opts)
	require.NoError(t, err)
	return h
}

func parse(t testing.TB, h *Hub, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(t, hub.Options{}, Options{}),
		hubtest.Sample{Target: "/example.org/m/@v/list"},
		hubtest.Sample{Target: "/example.org/m/@latest"},
		hubtest.Sample{Target: "/github.com/%21burnt%21sushi/toml/@v/v1.0.0.zip"},
		hubtest.Sample{Target: "/example.org/m/v2/@v/v2.0.0-20240102030405-abcdef012345.mod"},
		hubtest.Sample{Target: "/example.org/m/@v/main.info", Header: http.Header{"Disable-Module-Fetch": {"true"}}, Forwards: []string{"Disable-Module-Fetch"}},
		hubtest.Sample{Target: "/sumdb/" + db + "/lookup/github.com/!burnt!sushi/toml@v1.0.0", Upstream: "/lookup/github.com/!burnt!sushi/toml@v1.0.0"},
		hubtest.Sample{Target: "/sumdb/" + db + "/tile/8/1/x001/234.p/7", Upstream: "/tile/8/1/x001/234.p/7"},
		hubtest.Sample{Target: "/sumdb/" + db + "/latest", Upstream: "/latest"},
		hubtest.Sample{Target: "/sumdb/" + db + "/supported", Upstream: "/supported"},
	)
}

func TestParse(t *testing.T) {
	const mutable, immutable = freshness.Mutable, freshness.Immutable
	tests := []struct {
		name, target, key string
		class             freshness.Class
		ttl               time.Duration
		pkg, version      string
	}{
		{"list", "/example.org/m/@v/list", "", mutable, ttl, "example.org/m", ""},
		{"latest", "/example.org/m/@latest", "", mutable, ttl, "example.org/m", ""},
		{"zip", "/example.org/m/@v/v1.2.3.zip", "", immutable, ttl, "example.org/m", "v1.2.3"},
		{"upper case, go's spelling", "/example.org/%21big/@v/v1.2.3-%21rc1.mod", "/example.org/!big/@v/v1.2.3-!rc1.mod", immutable, ttl, "example.org/Big", "v1.2.3-Rc1"},
		{"upper case, the other one", "/example.org/!big/@v/v1.2.3.mod", "", immutable, ttl, "example.org/Big", "v1.2.3"},
		{"incompatible", "/example.org/m/@v/v2.0.0+incompatible.info", "", immutable, ttl, "example.org/m", "v2.0.0+incompatible"},
		{"pseudo-version", "/example.org/m/@v/v0.0.0-20240102030405-abcdef012345.zip", "", immutable, ttl, "example.org/m", "v0.0.0-20240102030405-abcdef012345"},
		{"toolchain", "/golang.org/toolchain/@v/v0.0.1-go1.26.0.linux-amd64.zip", "", immutable, ttl, "golang.org/toolchain", "v0.0.1-go1.26.0.linux-amd64"},
		{"branch", "/example.org/m/@v/main.info", "", mutable, ttl, "example.org/m", "main"},
		{"a version that is none in full", "/example.org/m/@v/v1.2.info", "", mutable, ttl, "example.org/m", "v1.2"},
		{"other build metadata", "/example.org/m/@v/v1.2.3+x.info", "", mutable, ttl, "example.org/m", "v1.2.3+x"},
		{"commit", "/example.org/m/@v/abcdef012345.info", "", mutable, ttl, "example.org/m", "abcdef012345"},
		{"no query", "/example.org/m/@v/list?go-get=1", "/example.org/m/@v/list", mutable, ttl, "example.org/m", ""},
		{"dashes and dots", "/gopkg.in/a-b.v2/@v/v2.0.0.zip", "", immutable, ttl, "gopkg.in/a-b.v2", "v2.0.0"},
		{"lookup", "/sumdb/" + db + "/lookup/example.org/%21big@v1.2.3", "/sumdb/" + db + "/lookup/example.org/!big@v1.2.3", immutable, 0, "example.org/Big", "v1.2.3"},
		{"tile", "/sumdb/" + db + "/tile/8/0/x001/067", "", immutable, 0, "", ""},
		{"tree", "/sumdb/" + db + "/latest", "", mutable, 30 * time.Second, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, newHub(t, hub.Options{}, Options{}), test.target)
			require.NoError(t, err)
			if test.key == "" {
				test.key = test.target
			}
			assert.Equal(t, test.key, req.Key.Path)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: test.ttl}, req.Policy)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
		})
	}
}

// B49: what is not exactly the protocol reaches nobody.
func TestParseRefuses(t *testing.T) {
	h := newHub(t, hub.Options{}, Options{Private: []string{"corp.example.org", "example.org/secret*"}})
	for name, target := range map[string]string{
		"root":                     "/",
		"no module":                "/@v/list",
		"upper case":               "/example.org/Big/@v/list",
		"upper case version":       "/example.org/m/@v/v1.0.0-RC1.zip",
		"escape without letter":    "/example.org/!/@v/list",
		"escape of upper case":     "/example.org/!B/@v/list",
		"a branch's zip":           "/example.org/m/@v/main.zip",
		"a branch's go.mod":        "/example.org/m/@v/main.mod",
		"other file":               "/example.org/m/@v/v1.0.0.ziphash",
		"lock":                     "/example.org/m/@v/v1.0.0.lock",
		"no file":                  "/example.org/m/@v/",
		"list and more":            "/example.org/m/@v/list/x",
		"two versions":             "/example.org/m/@v/v1.0.0.info/@v/v1.0.0/x.info",
		"semicolon":                "/example.org/m;x/@v/list",
		"leading dash":             "/-example.org/m/@v/list",
		"option as a version":      "/example.org/m/@v/--upload-pack=x;y.info",
		"no host":                  "/fmt/@v/list",
		"git":                      "/example.org/m.git/info/refs",
		"git's objects":            "/example.org/m.git/@v/../objects",
		"svn":                      "/example.org/m/!svn/vcc/default",
		"user":                     "/git@example.org/m/@v/list",
		"scheme":                   "/https:/example.org/m/@v/list",
		"latest with a slash":      "/example.org/m/@latest/",
		"other database":           "/sumdb/other.example.org/supported",
		"other database's latest":  "/sumdb/other.example.org/latest",
		"database alone":           "/sumdb/" + db,
		"database's root":          "/sumdb/" + db + "/",
		"bad tile":                 "/sumdb/" + db + "/tile/8/0/1",
		"huge tile":                "/sumdb/" + db + "/tile/99/0/001",
		"lookup of a query":        "/sumdb/" + db + "/lookup/example.org/m@main",
		"lookup of go.mod":         "/sumdb/" + db + "/lookup/example.org/m@v1.0.0/go.mod",
		"lookup without a version": "/sumdb/" + db + "/lookup/example.org/m",
		"lookup in upper case":     "/sumdb/" + db + "/lookup/example.org/M@v1.0.0",
		"private":                  "/corp.example.org/m/@v/list",
		"private by pattern":       "/example.org/secrets/m/@v/v1.0.0.zip",
		"private lookup":           "/sumdb/" + db + "/lookup/corp.example.org/m@v1.0.0",
	} {
		t.Run(name, func(t *testing.T) {
			req, err := parse(t, h, target)
			require.Error(t, err, "%+v", req)
			var stated *exchange.Error
			if errors.As(err, &stated) {
				if stated.Status == http.StatusNotFound {
					assert.True(t, strings.HasPrefix(stated.Message, "not found: "), stated.Message)
				} else {
					assert.Equal(t, http.StatusBadRequest, stated.Status)
				}
			}
		})
	}
}

// Only 404 and 410 let go on to the next proxy, so a private module is one.
func TestPrivate(t *testing.T) {
	h := newHub(t, hub.Options{}, Options{Private: []string{"corp.example.org"}})
	_, err := parse(t, h, "/corp.example.org/!x/@v/v1.0.0.zip")
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, http.StatusNotFound, stated.Status)
	assert.Equal(t, "not found: corp.example.org/X@v1.0.0: it is private, and nobody is asked about it here", stated.Message)
	_, err = parse(t, h, "/corp.example.org.evil.example/x/@v/v1.0.0.zip")
	require.NoError(t, err, "a prefix is of whole elements")
}

func TestNew(t *testing.T) {
	_, err := New(hub.Options{Name: "go"}, Options{Verify: true})
	assert.Error(t, err)
}

// A world is mirrors and databases, a cache before them, and the hub around it.
type world struct {
	hub   *Hub
	cache *memoryCache

	mu      sync.Mutex
	content map[string]string // guarded by mu; "MIRROR TARGET", or "DATABASE TARGET"
	asked   []string          // guarded by mu
}

var mirrors = []string{"http://a", "http://b"}

func newWorld(t *testing.T, opts Options) *world {
	w := &world{content: map[string]string{}}
	w.cache = &memoryCache{stored: map[exchange.Key]kept{}}
	w.hub = newHub(t, hub.Options{Cache: w.cache.wrap, Spool: spoolIn(t)}, opts)
	return w
}

// Get is upstream.
func (w *world) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := mirrors
	if req.Origin != "" {
		from = []string{req.Origin}
	}
	for _, m := range from {
		name := m + " " + req.Target
		text, ok := w.content[name]
		if !ok || strings.Contains(strings.Join(req.Avoid, " "), m) {
			continue
		}
		w.asked = append(w.asked, name)
		size := int64(len(text))
		if req.Head {
			text = ""
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: size, Mirror: m},
			Body:  io.NopCloser(strings.NewReader(text)),
		}, nil
	}
	if len(req.Avoid) > 0 {
		return nil, &exchange.Error{Status: http.StatusBadGateway}
	}
	return &exchange.Response{Entry: &exchange.Entry{Status: 404, Size: 5}, Body: io.NopCloser(strings.NewReader("gone\n"))}, nil
}

func (w *world) source() exchange.Source {
	var cached exchange.Source
	gate := w.hub.Gate(w, exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		return cached.Get(ctx, req)
	}))
	cached = w.cache.wrap(gate)
	return w.hub.Rewrite(cached)
}

// get is a client's request.
func (w *world) get(t *testing.T, target string, header ...string) (status int, body string, err error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	req, err := w.hub.Parse(r)
	require.NoError(t, err)
	resp, err := w.source().Get(t.Context(), req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.Entry.Status, string(b), err
}

type kept struct{ text, mirror string }

// A memoryCache is as much of the cache as a hub notices: nothing expires in it.
type memoryCache struct {
	mu     sync.Mutex
	stored map[exchange.Key]kept // guarded by mu
}

func (c *memoryCache) wrap(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		c.mu.Lock()
		k, ok := c.stored[req.Key]
		c.mu.Unlock()
		if !ok || req.Policy.Class == freshness.Mutable {
			resp, err := next.Get(ctx, req)
			if err != nil || req.Head || resp.Entry.Status != 200 {
				return resp, err
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				return nil, err
			}
			k = kept{string(b), resp.Entry.Mirror}
			c.mu.Lock()
			c.stored[req.Key] = k
			c.mu.Unlock()
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: int64(len(k.text)), Mirror: k.mirror},
			Body:  io.NopCloser(strings.NewReader(k.text)),
		}, nil
	})
}

func TestStoredOnly(t *testing.T) {
	w := newWorld(t, Options{})
	w.content["http://a /example.org/m/@v/list"] = "v1.0.0\n"
	_, _, err := w.get(t, "/example.org/m/@v/list", "Disable-Module-Fetch", "true")
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, http.StatusNotFound, stated.Status)
	assert.Empty(t, w.asked)
	for _, header := range []string{"false", "true"} {
		_, body, err := w.get(t, "/example.org/m/@v/list", "Disable-Module-Fetch", header)
		require.NoError(t, err)
		assert.Equal(t, "v1.0.0\n", body)
	}
	assert.Len(t, w.asked, 1)

	w.hub.hub.Cache = nil
	_, _, err = w.get(t, "/example.org/m/@v/list", "Disable-Module-Fetch", "true")
	assert.Error(t, err)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/example.org/!m/@v/list", "/example.org/%21m/@v/v1.0.0-!r.zip", "/example.org/m/@latest", "/a.b/@v/@v/x.info",
		"/sumdb/" + db + "/lookup/example.org/m@v1.0.0", "/sumdb/" + db + "/tile/8/x001/067.p/1", "/example.org//m/./@v/v2.0.0+incompatible.mod",
	} {
		f.Add(seed)
	}
	h := newHub(f, hub.Options{}, Options{})
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req, err := h.Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		assert.Equal(t, strings.ToLower(req.Key.Path), req.Key.Path, "no two spellings for a store that folds case")
		again, err := parse(t, h, req.Key.Path)
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
		assert.Equal(t, req.Policy, again.Policy)
	})
}
