package composer

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
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

const (
	mirror = "https://mirror.example.org/composer"
	ref    = "0123456789abcdef0123456789abcdef01234567"
)

var sha1Of = strings.Repeat("0a", 20)

func newHub(l *ledger.Ledger) *Hub {
	return New(hub.Options{
		Name:    "composer",
		Mirrors: []*url.URL{{Scheme: "https", Host: "mirror.example.org", Path: "/composer/"}},
		Files:   map[string]*url.URL{"zips": {Scheme: "https", Host: "zips.example.org", Path: "/d"}, "api": {Scheme: "https", Host: "api.example.org"}},
		Ledger:  l,
	})
}

func parse(t testing.TB, h *Hub, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(nil),
		hubtest.Sample{Target: "/packages.json"},
		hubtest.Sample{Target: "/p2/acme/lib.json"},
		hubtest.Sample{Target: "/p2/acme/lib~dev.json"},
		hubtest.Sample{Target: "/p2/acme/lib%7Edev.json"},
		hubtest.Sample{Target: "/_f/api/p2/acme/lib.json", Upstream: "/p2/acme/lib.json"},
		hubtest.Sample{Target: "/p/acme/lib$" + strings.Repeat("0a", 32) + ".json"},
		hubtest.Sample{Target: "/search.json?q=a%20b&type="},
		hubtest.Sample{Target: "/_d/acme/lib/1.0.0.0/" + ref + ".zip"},
	)
}

func TestParse(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for _, test := range []struct {
		name, target, key string
		class             freshness.Class
		pkg, version      string
		digest            exchange.Digest
	}{
		{"root", "/packages.json?x=1", "/packages.json", freshness.Mutable, "", "", ""},
		{"document", "/p2/acme/lib.json", "/p2/acme/lib.json", freshness.Mutable, "acme/lib", "", ""},
		{"of branches", "/p2/acme/lib~dev.json", "/p2/acme/lib~dev.json", freshness.Mutable, "acme/lib", "", ""},
		{"elsewhere", "/_f/api/x/p2/acme/lib.json", "/_f/api/x/p2/acme/lib.json", freshness.Mutable, "acme/lib", "", ""},
		{"by hash", "/p/a/b%24" + hash + ".json", "/p/a/b$" + hash + ".json", freshness.Immutable, "", "", exchange.Digest("sha256:" + hash)},
		{"by hash elsewhere", "/_f/api/p/a$" + hash + ".json", "/_f/api/p/a$" + hash + ".json", freshness.Immutable, "", "", exchange.Digest("sha256:" + hash)},
		{"by SHA-1, which proves little", "/include/all$" + sha1Of + ".json", "/include/all$" + sha1Of + ".json", freshness.Mutable, "", "", ""},
		{"search", "/search.json?q=.json", "/search.json?q=.json", freshness.Passthrough, "", "", ""},
		{"list", "/packages/list.json?vendor=a", "/packages/list.json?vendor=a", freshness.Passthrough, "", "", ""},
		{"providers", "/providers/psr/log.json", "/providers/psr/log.json", freshness.Passthrough, "", "", ""},
		{"a vendor of that name", "/p2/providers/log.json", "/p2/providers/log.json", freshness.Mutable, "providers/log", "", ""},
		{"advisories", "/_f/api/api/security-advisories/?updatedSince=1", "/_f/api/api/security-advisories/?updatedSince=1", freshness.Passthrough, "", "", ""},
		{"dist", "/_d/acme/lib/dev-main/" + ref + ".zip", "/_d/acme/lib/dev-main/" + ref + ".zip", freshness.Immutable, "acme/lib", "dev-main", ""},
		{"dist without a reference", "/_d/acme/lib/1.0.0.0/.tar", "/_d/acme/lib/1.0.0.0/.tar", freshness.Mutable, "acme/lib", "1.0.0.0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, newHub(nil), test.target)
			require.NoError(t, err)
			assert.Equal(t, test.key, req.Key.Path)
			assert.Equal(t, test.class, req.Policy.Class)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
			assert.Equal(t, test.digest, req.Digest)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, target := range []string{
		"/", "/p2/", "/p2/acme/", "/p2/acme/.json", "/dist/x.zip", "/_f/zips/x.zip", "/_f/other/x.json", "/_f/zips",
		"/_d/acme/lib/1.0.0.0/", "/_d/acme/lib/1.0.0.0/" + ref, "/_d/acme/lib/" + ref + ".zip", "/_d/acme/lib/1/x/" + ref + ".zip",
		"/_d/acme/lib%3Fx/1.0.0.0/" + ref + ".zip", "/_d/acme/lib%2Fx/1.0.0.0/" + ref + ".zip", "/_d/acme/lib//" + ref + ".zip",
		"/_d/acme/lib/1.0.0.0/https:%2F%2Fevil.example.zip", "/_f/zips/_d/acme/lib/1.0.0.0/" + ref + ".zip",
	} {
		req, err := parse(t, newHub(nil), target)
		assert.Error(t, err, "%s became %+v", target, req)
	}
}

func TestPost(t *testing.T) {
	req, err := newHub(nil).Post(httptest.NewRequest("POST", "/api/security-advisories/", nil), []byte("packages[]=acme/lib"))
	require.NoError(t, err)
	assert.Equal(t, "packages[]=acme/lib", string(req.Post))
	assert.Equal(t, freshness.Passthrough, req.Policy.Class)
	for _, path := range []string{"/packages.json", "/downloads/", "/search.json", "/_f/other/api/security-advisories/"} {
		_, err := newHub(nil).Post(httptest.NewRequest("POST", path, nil), nil)
		assert.Error(t, err, path)
	}
}

func TestRefusal(t *testing.T) {
	_, body := newHub(nil).Refusal(404, "none")
	assert.JSONEq(t, `{"status":"error","message":"none"}`, string(body))
	_, body = newHub(nil).Refusal(502, "down")
	assert.JSONEq(t, `{"status":"error","message":"down","warning":"down"}`, string(body))
}

func edit(t testing.TB, text string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	h := newHub(nil)
	err := h.copyRoot(&b, strings.NewReader(text), hub.NewCopy(h.links, "/php", from(t, "/packages.json"), nil), "http://proxy.example.org")
	return b.String(), err
}

func from(t testing.TB, path string) *url.URL {
	t.Helper()
	u, err := url.Parse(mirror + path)
	require.NoError(t, err)
	return u
}

func TestEdit(t *testing.T) {
	const ours = `{"mirrors":[{"dist-url":"/php/_d/%package%/%version%/%reference%.%type%","preferred":true}],`
	for _, test := range []struct{ name, in, want string }{
		{"relative to the host", `{"metadata-url": "/composer/p2/%package%.json"}`, `"metadata-url": "/php/p2/%package%.json"}`},
		{"absolute", ` {  "metadata-url":"https:\/\/mirror.example.org\/composer\/p2\/%package%.json" , "x": 1e400 }`, `"metadata-url":"/php/p2/%package%.json" , "x": 1e400 }`},
		{"second host", `{"list":"https://api.example.org/packages/list.json","search":"https://api.example.org/search.json?q=%query%&type=%type%"}`,
			`"list":"/php/_f/api/packages/list.json","search":"/php/_f/api/search.json?q=%query%&type=%type%"}`},
		{"elsewhere", `{"metadata-url":"https://elsewhere.example/p2/%package%.json"}`, `"metadata-url":"https://elsewhere.example/p2/%package%.json"}`},
		{"outside the mirror", `{"metadata-url":"/p2/%package%.json"}`, `"metadata-url":"/p2/%package%.json"}`},
		{"no reports", `{"notify-batch":"https://api.example.org/downloads/","notify":"x"}`, `"notify-batch":null,"notify":null}`},
		{"advisories", `{"security-advisories":{"metadata":true,"api-url":"https://api.example.org/api/security-advisories/"}}`,
			`"security-advisories":{"metadata":true,"api-url":"http://proxy.example.org/php/_f/api/api/security-advisories/"}}`},
		{"a mirror of its own", `{"mirrors":[{"dist-url":"https://x/%reference%","preferred":false}]}`,
			`"mirrors":[{"dist-url":"/php/_d/%package%/%version%/%reference%.%type%","preferred":true}]}`},
		{"dists in it stay", `{"packages":{"a/b":{"1":{"dist":{"url":"https://zips.example.org/d/x.zip"}}}}}`,
			`"packages":{"a/b":{"1":{"dist":{"url":"https://zips.example.org/d/x.zip"}}}}}`},
		{"a mark before it", "\ufeff" + `{"packages":[]}`, `"packages":[]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := edit(t, test.in)
			require.NoError(t, err)
			assert.Equal(t, ours+test.want, got)
		})
	}
	for _, text := range []string{"", "{}", " { } ", "[]", "<html>", `"x"`, `{"metadata-url":"/composer/p2`, `{"a":1}{"b":2}`, `{"a":1`, "{{"} {
		_, err := edit(t, text)
		assert.Error(t, err, text)
	}
}

const document1 = `{"minified":"composer/2.0","packages":{"acme/lib":[
 {"name":"acme/lib","version":"2.0.0","version_normalized":"2.0.0.0","dist":{"url":"https://zips.example.org/d/lib-2.zip","type":"zip","shasum":"0A0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","reference":"` + ref + `"}},
 {"version":"1.0.0","version_normalized":"1.0.0.0","require":{"dist":{"url":"no"}}},
 {"version":"0.9.0","version_normalized":"0.9.0.0","dist":{"url":"/composer/dists/lib-0.9.tar","type":"tar","shasum":""}},
 {"version":"0.8.0","version_normalized":"0.8.0.0","dist":"__unset"},
 {"version":"dev-a/b","version_normalized":"dev-a/b","dist":{"type":"zip","url":"https://elsewhere.example/x.zip","reference":"v1","shasum":"` + "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" + `"}},
 {"version":"v3","dist":{"type":"zip","url":"https://zips.example.org/d/../x.zip","reference":"abc","shasum":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"}}
]}}`

func TestFacts(t *testing.T) {
	got := map[string]exchange.Digest{}
	require.NoError(t, facts(strings.NewReader(document1), func(path string, f exchange.Fact) { got[path] = f.Digest }))
	assert.Equal(t, map[string]exchange.Digest{
		"/_d/acme/lib/2.0.0.0/" + ref + ".zip":                                       exchange.Digest("sha1:" + sha1Of),
		"/_d/acme/lib/1.0.0.0/" + ref + ".zip":                                       exchange.Digest("sha1:" + sha1Of),
		"/_d/acme/lib/" + md5Of("dev-a/b") + "/6654c734ccab8f440ff0825eb443dc7f.zip": exchange.Digest("sha1:" + sha1Of),
	}, got)
}

// source answers by path; what it does not have is a 404, and "" an error.
func source(text map[string]string) exchange.Source {
	return exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		body, ok := text[req.Key.Path]
		e := &exchange.Entry{Key: req.Key, Status: 200, Size: int64(len(body)), Mirror: mirror, Received: time.Now()}
		if !ok {
			e.Status = 404
		} else if body == "" {
			return nil, &exchange.Error{Status: 504}
		}
		return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
}

func TestGate(t *testing.T) {
	root := `{"metadata-url":"/composer/p2/%package%.json","packages":{"in/root":{"1.0":{"name":"In/Root","version":"1.0","dist":{"url":"r.zip","type":"zip","reference":"aa"}}}}}`
	for _, test := range []struct {
		name, target  string
		texts         map[string]string
		origin, asked string
		status        int
	}{
		{"a release", "/_d/acme/lib/2.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib.json": document1}, "zips", "/lib-2.zip", 0},
		{"one that says nothing of it", "/_d/acme/lib/1.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib.json": document1}, "zips", "/lib-2.zip", 0},
		{"without a reference", "/_d/acme/lib/0.9.0.0/.tar", map[string]string{"/p2/acme/lib.json": document1}, "", "/dists/lib-0.9.tar", 0},
		{"without a reference, another version", "/_d/acme/lib/0.9.0.1/.tar", map[string]string{"/p2/acme/lib.json": document1}, "", "", 404},
		{"in the document of branches", "/_d/acme/lib/2.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib~dev.json": document1}, "zips", "/lib-2.zip", 0},
		{"by reference alone", "/_d/acme/lib/8.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib.json": document1}, "zips", "/lib-2.zip", 0},
		{"in the root", "/_d/in/root/1.0.0.0/aa.zip", nil, "", "/r.zip", 0},
		{"removed", "/_d/acme/lib/0.8.0.0/.zip", map[string]string{"/p2/acme/lib.json": document1}, "", "", 404},
		{"no such package", "/_d/acme/none/1.0.0.0/aa.zip", nil, "", "", 404},
		{"elsewhere (B7)", "/_d/acme/lib/" + md5Of("dev-a/b") + "/" + md5Of("v1") + ".zip", map[string]string{"/p2/acme/lib.json": document1}, "", "", 404},
		{"out of the base (B7)", "/_d/acme/lib/3.0.0.0/abc.zip", map[string]string{"/p2/acme/lib.json": document1}, "", "", 404},
		{"a failure is no 404", "/_d/acme/lib/2.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib.json": ""}, "", "", 504},
		{"a page in its place", "/_d/acme/lib/2.0.0.0/" + ref + ".zip", map[string]string{"/p2/acme/lib.json": "<html>"}, "", "", 502},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked *exchange.Request
			texts := map[string]string{"/packages.json": root}
			for path, text := range test.texts {
				texts[path] = text
			}
			h := newHub(nil)
			gate := h.Gate(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				asked = req
				return &exchange.Response{}, nil
			}), source(texts))
			req, err := parse(t, h, test.target)
			require.NoError(t, err)
			_, err = gate.Get(t.Context(), req)
			if test.status != 0 {
				var stated *exchange.Error
				require.ErrorAs(t, err, &stated)
				assert.Equal(t, test.status, stated.Status)
				assert.Nil(t, asked)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.origin, asked.Origin)
			assert.Equal(t, test.asked, asked.Target)
			assert.Equal(t, req.Key, asked.Key)
		})
	}
}

// A document that passes teaches, and so does the root.
func TestLearn(t *testing.T) {
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
	require.NoError(t, err)
	defer l.Close()
	h := newHub(l)
	next := h.Rewrite(source(map[string]string{"/p2/acme/lib.json": document1}))
	req, err := parse(t, h, "/p2/acme/lib.json")
	require.NoError(t, err)
	resp, err := next.Get(t.Context(), req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, document1, string(body), "as it is")
	f, _ := l.Lookup(t.Context(), exchange.Key{Hub: "composer", Path: "/_d/acme/lib/2.0.0.0/" + ref + ".zip"})
	assert.Equal(t, exchange.Digest("sha1:"+sha1Of), f.Digest)
}

func FuzzEdit(f *testing.F) {
	f.Add(`{"metadata-url":"/composer/p2/%package%.json","mirrors":[{"dist-url":1}],"search":null}`)
	f.Add(`{"\u006dirrors":{},"a":[{}]} `)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := edit(t, text)
		if err == nil && json.Valid([]byte(text)) {
			assert.True(t, json.Valid([]byte(got)), got)
		}
	})
}

func FuzzVersions(f *testing.F) {
	f.Add(document1)
	f.Add(`{"packages":{"a/b":{"x":{"name":[],"dist":[{"url":"x"}]}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		h := newHub(nil)
		_ = facts(strings.NewReader(text), func(path string, f exchange.Fact) {
			req, err := h.Parse(&http.Request{URL: &url.URL{Path: hub.Name(path)}})
			if err == nil { // a name or a type that Composer would not have has no path
				assert.Equal(t, distPrefix, req.Key.Path[:len(distPrefix)])
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/packages.json", "/p2/a/b~dev.json", "/_d/a/b/dev-x%23/00.zip", "/search.json?q=%", "/_f/api/providers/x?y"} {
		f.Add(seed)
	}
	h := newHub(nil)
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req, err := h.Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		again, err := parse(t, h, req.Key.Path)
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
		assert.Equal(t, req.Policy, again.Policy)
	})
}
