package rubygems

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
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
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

func newHub(l *ledger.Ledger) *Hub {
	return New(hub.Options{Name: "gems", Mirrors: make([]*url.URL, 2), Ledger: l})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(nil),
		hubtest.Sample{Target: "/versions"},
		hubtest.Sample{Target: "/names"},
		hubtest.Sample{Target: "/"},
		hubtest.Sample{Target: "/info/a_b-c.d"},
		hubtest.Sample{Target: "/info/a%5fb", Upstream: "/info/a%5fb"},
		hubtest.Sample{Target: "/gems/nokogiri-1.15.0-x86_64-linux.gem"},
		hubtest.Sample{Target: "/specs.4.8.gz"},
		hubtest.Sample{Target: "/quick/Marshal.4.8/a-1.0.gemspec.rz"},
		hubtest.Sample{Target: "/api/v1/dependencies?gems=a%2Cb"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target, key, pkg string
		policy                 freshness.Policy
	}{
		{"versions", "/versions?x=1", "/versions", "", freshness.Policy{TTL: time.Minute}},
		{"info", "/info/rack", "/info/rack", "rack", freshness.Policy{TTL: ttl}},
		{"gem", "/gems/a-1.0-java.gem", "/gems/a-1.0-java.gem", "a", freshness.Policy{Class: freshness.Immutable}},
		{"gem with a number", "/gems/a-2fa-1.0.gem", "/gems/a-2fa-1.0.gem", "a-2fa", freshness.Policy{Class: freshness.Immutable}},
		{"the repository itself, which gem asks for", "/", "/", "", freshness.Policy{TTL: ttl}},
		{"latest specs", "/latest_specs.4.8.gz", "/latest_specs.4.8.gz", "", freshness.Policy{TTL: ttl}},
		{"not packed", "/prerelease_specs.4.8", "/prerelease_specs.4.8", "", freshness.Policy{TTL: ttl}},
		{"spec", "/quick/Marshal.4.8/a-1.gemspec.rz", "/quick/Marshal.4.8/a-1.gemspec.rz", "a", freshness.Policy{Class: freshness.Immutable}},
		{"api", "/api/v2/rubygems/a/versions/1.json?b", "/api/v2/rubygems/a/versions/1.json?b", "", freshness.Policy{Class: freshness.Passthrough}},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := newHub(nil).Parse(httptest.NewRequest("GET", test.target, nil))
			require.NoError(t, err)
			assert.Equal(t, test.key, req.Key.Path)
			assert.Equal(t, test.pkg, req.Package)
			want := test.policy
			if want.TTL == 0 {
				want.TTL = req.Policy.TTL
			}
			assert.Equal(t, want, req.Policy)
		})
	}
	for _, target := range []string{"/info/", "/info/a/b", "/info/a%2Fb", "/info/a%20b", "/gems/", "/gems/a/b.gem", "/gems/a-1.0.tgz", "/quick/a-1.gemspec.rz", "/specs.4.8.Z", "/api/", "/versions/"} {
		req, err := newHub(nil).Parse(httptest.NewRequest("GET", target, nil))
		assert.Error(t, err, "%s became %+v", target, req)
	}
}

func sumOf(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }

// An origin answers by path, as a cache with everything in it.
type origin struct {
	etag string

	mu   sync.Mutex // the ledger reads too
	text map[string]string
	ttls []time.Duration // of the requests for infos, but the usual one
}

func (o *origin) set(path, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text[path] = text
}

// asked are the TTLs of the requests for infos since the last call.
func (o *origin) asked() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.ttls
	o.ttls = nil
	return all
}

func (o *origin) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text[req.Key.Path]
	if strings.HasPrefix(req.Key.Path, infoPrefix) && req.Policy.TTL != ttl {
		o.ttls = append(o.ttls, req.Policy.TTL)
	}
	own := exchange.OwnAlgorithm(int64(len(text)))
	sum := exchange.Digest(own + ":").New()
	io.WriteString(sum, text)
	e := &exchange.Entry{Key: req.Key, Status: 200, Size: int64(len(text)), Digest: exchange.NewDigest(own, sum.Sum(nil)), Header: http.Header{}, Mirror: "https://a", Received: time.Now()}
	if o.etag != "" {
		e.Header.Set("Etag", o.etag)
	}
	if req.Head {
		text = ""
	}
	return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func ask(t testing.TB, h *Hub, o *origin, path string, head bool) (*exchange.Response, string) {
	t.Helper()
	req, err := h.Parse(httptest.NewRequest("GET", path, nil))
	require.NoError(t, err)
	req.Head = head
	resp, err := h.Rewrite(o).Get(t.Context(), req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(body)
}

func TestETag(t *testing.T) {
	text := "created_at: 2026-01-01T00:00:00Z\n---\n"
	own := `"` + sumOf(text) + `"`
	for _, test := range []struct{ name, origins, want string }{
		{"none", "", own},
		{"another kind", `"5f-1234"`, own},
		{"the kind that Bundler wants", own, own},
		{"weak", "W/" + own, "W/" + own},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, head := range []bool{false, true} {
				h, o := newHub(nil), &origin{text: map[string]string{"/versions": text, "/names": text, "/info/a": text}, etag: test.origins}
				for _, path := range []string{"/versions", "/names", "/info/a", "/info/a"} {
					resp, body := ask(t, h, o, path, head)
					assert.Equal(t, test.want, resp.Entry.Header.Get("Etag"), path)
					if head {
						assert.Empty(t, body)
					} else {
						assert.Equal(t, text, body)
					}
				}
			}
		})
	}
}

// The digest that a large list is stored with is another one.
func TestETagOfLargeList(t *testing.T) {
	text := strings.Repeat("x", 16<<20+1)
	resp, body := ask(t, newHub(nil), &origin{text: map[string]string{"/versions": text}, etag: `"5f-1234"`}, "/versions", false)
	assert.Equal(t, `"`+sumOf(text)+`"`, resp.Entry.Header.Get("Etag"))
	assert.Len(t, body, len(text))
}

// What versions says of an info decides on its freshness, for as long as that is
// known to be true.
func TestInfo(t *testing.T) {
	const forever = freshness.Forever
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
	require.NoError(t, err)
	defer l.Close()
	now := time.Now()
	h := New(hub.Options{Name: "gems", Ledger: l, Now: func() time.Time { return now }})
	info := "---\n1.0 |checksum:" + strings.Repeat("0a", 32) + ",ruby:>= 2\n1.0-java a:>= 1&< 2,b:>= 0|ruby:>= 2,checksum:" + strings.Repeat("0b", 32) + "\n2.0 |checksum:short\n"
	o := &origin{text: map[string]string{"/info/a": info, "/versions": "created_at: 2026-01-01T00:00:00Z\n---\na 1.0 " + strings.Repeat("00", 16) + "\nb 1.0 x\na 1.1 " + sumOf(info) + "\n"}}
	ask(t, h, o, "/info/a", false)
	ask(t, h, o, "/versions", false)
	require.Eventually(t, func() bool { // it is read behind its client, and the last line of a gem holds
		f, _ := l.Lookup(t.Context(), exchange.Key{Hub: "gems", Path: "/info/a"})
		return f.Digest == exchange.Digest("md5:"+sumOf(info))
	}, 10*time.Second, time.Millisecond)
	assert.Empty(t, o.asked())
	ask(t, h, o, "/info/a", false)
	assert.Equal(t, []time.Duration{forever}, o.asked(), "it is what versions says")

	o.set("/info/a", info+"2.0 |\n")
	ask(t, h, o, "/info/a", false)
	assert.Contains(t, o.asked(), time.Duration(0), "validated, since it is another one")
	ask(t, h, o, "/info/a", false)
	assert.NotContains(t, o.asked(), time.Duration(0), "but not all the time")
	now = now.Add(2 * time.Minute)
	ask(t, h, o, "/info/a", false)
	assert.Contains(t, o.asked(), time.Duration(0))

	now = now.Add(10 * time.Minute)
	ask(t, h, o, "/info/a", false)
	assert.Empty(t, o.asked(), "versions may be another by now")

	for path, want := range map[string]exchange.Digest{
		"/gems/a-1.0.gem":      exchange.Digest("sha256:" + strings.Repeat("0a", 32)),
		"/gems/a-1.0-java.gem": exchange.Digest("sha256:" + strings.Repeat("0b", 32)),
		"/gems/a-2.0.gem":      "",
	} {
		f, _ := l.Lookup(t.Context(), exchange.Key{Hub: "gems", Path: path})
		assert.Equal(t, want, f.Digest, path)
	}
}

// A list that is older than one seen before is that of a mirror behind the others.
func TestGate(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	h := newHub(nil)
	h.hub.Now = func() time.Time { return now }
	var texts []string
	var avoided []int
	gate := h.Gate(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text := texts[0]
		texts = texts[1:]
		avoided = append(avoided, len(req.Avoid))
		return &exchange.Response{Entry: &exchange.Entry{Status: 200, Mirror: "m"}, Body: io.NopCloser(strings.NewReader(text))}, nil
	}), nil)
	get := func(all ...string) (string, error) {
		texts, avoided = all, nil
		req, err := h.Parse(httptest.NewRequest("GET", "/versions", nil))
		require.NoError(t, err)
		resp, err := gate.Get(t.Context(), req)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body), nil
	}
	list := func(date string) string { return "created_at: " + date + "\n---\n" + strings.Repeat("x", 2*maxHeader) }
	for _, text := range []string{list("2026-05-01T00:00:00Z"), "---\na 1 x\n", list("2027-01-01T00:00:00Z"), list("2026-05-01T02:00:00+02:00"), ""} {
		got, err := get(text)
		require.NoError(t, err)
		assert.Equal(t, text, got)
	}
	got, err := get(list("2026-04-01T00:00:00Z"), list("2026-05-02T00:00:00Z"))
	require.NoError(t, err)
	assert.Equal(t, list("2026-05-02T00:00:00Z"), got)
	assert.Equal(t, []int{0, 1}, avoided)
	_, err = get(list("2026-05-01T00:00:00Z"), list("2026-05-01T00:00:00Z"))
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, 502, stated.Status)
}

func FuzzIndex(f *testing.F) {
	f.Add("created_at: 2026-01-01T00:00:00Z\n---\na 1.0,2.0 00000000000000000000000000000000\n")
	f.Add("---\n1.0-java a:>= 1|checksum:" + strings.Repeat("0a", 32) + ",ruby:> 1\n")
	h := newHub(nil)
	f.Fuzz(func(t *testing.T, text string) {
		createdAt([]byte(text))
		known := func(path string, f exchange.Fact) {
			_, err := exchange.ParseDigest(string(f.Digest))
			require.NoError(t, err)
			u, err := url.Parse(path)
			require.NoError(t, err)
			req, err := h.Parse(&http.Request{URL: u})
			if err == nil { // what a version should not have is not below /gems/
				assert.Equal(t, path, req.Key.Path)
			}
		}
		_ = readVersions(strings.NewReader(text), known)
		_ = infoOf("a")(strings.NewReader(text), known)
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/versions", "/info/a%2e", "/gems/a%20.gem", "/api/v1/x?y=%", "/quick/Marshal.4.8/a-1.gemspec.rz"} {
		f.Add(seed)
	}
	h := newHub(nil)
	f.Fuzz(func(t *testing.T, target string) {
		hubtest.Reparse(t, h, target)
	})
}
