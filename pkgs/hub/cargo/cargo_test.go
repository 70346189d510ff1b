package cargo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

var sum = strings.Repeat("0a", 32)

func newHub(t testing.TB) *Hub {
	t.Helper()
	base := func(s string) *url.URL {
		u, err := url.Parse(s)
		require.NoError(t, err)
		return u
	}
	return New(hub.Options{
		Name:    "cargo",
		Mirrors: []*url.URL{base("https://index.example.org/base/")},
		Files:   map[string]*url.URL{"crates": base("https://static.example.org/crates")},
	})
}

func parse(t testing.TB, h *Hub, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(t),
		hubtest.Sample{Target: "/config.json"},
		hubtest.Sample{Target: "/1/a"},
		hubtest.Sample{Target: "/2/ab"},
		hubtest.Sample{Target: "/3/a/abc"},
		hubtest.Sample{Target: "/se/rd/serde-json_x", Header: http.Header{"Accept": {"text/plain"}, "Cargo-Protocol": {"version=1"}}},
		hubtest.Sample{Target: "/_dl/Serde/1.0.0-rc.1+build/" + sum},
		hubtest.Sample{Target: "/api/v1/crates?q=serde&per_page=10"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target string
		class        freshness.Class
		digest       exchange.Digest
	}{
		{"config", "/config.json", freshness.Mutable, ""},
		{"index", "/se/rd/serde", freshness.Mutable, ""},
		{"crate", "/_dl/Serde/1.0.0/" + sum, freshness.Immutable, exchange.Digest("sha256:" + sum)},
		{"search", "/api/v1/crates?q=x", freshness.Passthrough, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, newHub(t), test.target)
			require.NoError(t, err)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: ttl}, req.Policy)
			assert.Equal(t, test.digest, req.Digest)
			assert.Equal(t, test.target, req.Key.Path)
		})
	}
	req, err := parse(t, newHub(t), "/se/rd/serde?x=1")
	require.NoError(t, err)
	assert.Equal(t, "/se/rd/serde", req.Key.Path, "no query")
}

func TestParseRefuses(t *testing.T) {
	for name, target := range map[string]string{
		"root":              "/",
		"name alone":        "/serde",
		"wrong directory":   "/se/rx/serde",
		"short name, deep":  "/ab/ab",
		"three":             "/3/b/abc",
		"upper case":        "/Se/rd/Serde",
		"folder":            "/se/rd/serde/",
		"no name":           "/1/",
		"no checksum":       "/_dl/serde/1.0.0",
		"short checksum":    "/_dl/serde/1.0.0/00",
		"upper checksum":    "/_dl/serde/1.0.0/" + strings.ToUpper(sum),
		"more":              "/_dl/serde/1.0.0/" + sum + "/x",
		"link as a version": "/_dl/serde/https:%2f%2fevil.example/" + sum,
		"link as a name":    "/_dl/..;/1.0.0/" + sum,
		"publish":           "/api/v1/crates/new",
		"git":               "/info/refs",
	} {
		t.Run(name, func(t *testing.T) {
			req, err := parse(t, newHub(t), target)
			assert.Error(t, err, "%+v", req)
		})
	}
}

func TestDownload(t *testing.T) {
	for _, test := range []struct{ dl, crate, want string }{
		{"https://x/api/v1/crates", "Serde", "https://x/api/v1/crates/Serde/1.0.0/download"},
		{"https://x/{crate}/{crate}-{version}.crate", "serde", "https://x/serde/serde-1.0.0.crate"},
		{"https://x/{prefix}/{crate}", "MyCrate", "https://x/My/Cr/MyCrate"},
		{"https://x/{lowerprefix}/{crate}", "MyCrate", "https://x/my/cr/MyCrate"},
		{"https://x/{prefix}/{version}", "Abc", "https://x/3/A/1.0.0"},
		{"https://x/?c={crate}&s={sha256-checksum}", "ab", "https://x/?c=ab&s=" + sum},
	} {
		assert.Equal(t, test.want, config{DL: test.dl}.crate(test.crate, "1.0.0", sum))
	}
}

func edit(t testing.TB, h *Hub, text string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	err := h.editConfig("http://proxy:8881/cargo")(&b, strings.NewReader(text))
	return b.String(), err
}

func TestEditConfig(t *testing.T) {
	const here = `"http://proxy:8881/cargo/_dl/{crate}/{version}/{sha256-checksum}"`
	for _, test := range []struct{ name, text, want string }{
		{"second host", `{"dl":"https://static.example.org/crates","api":"https://www.example.org"}`, `{"dl":` + here + `,"api":null}`},
		{"mirror", `{ "dl" : "https://index.example.org/base/api/v1/crates", "api": "http://INDEX.example.org/base/", "x": 1e400}`,
			`{ "dl" : ` + here + `, "api": "http://proxy:8881/cargo", "x": 1e400}`},
		{"token", `{"auth-required":true,"dl":"https://static.example.org/crates/{crate}"}`, `{"auth-required":false,"dl":` + here + `}`},
		{"elsewhere", `{"dl":"https://elsewhere.example/","api":"https://index.example.org/base","auth-required":true}`,
			`{"dl":"https://elsewhere.example/","api":"https://index.example.org/base","auth-required":true}`},
		{"almost there", `{"dl":"https://static.example.org/cratesevil"}`, `{"dl":"https://static.example.org/cratesevil"}`},
		{"host by crate", `{"dl":"https://{crate}.example.org/crates"}`, `{"dl":"https://{crate}.example.org/crates"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := edit(t, newHub(t), test.text)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	for _, text := range []string{"", "<html>", "{}", `{"dl":1}`, `{"dl":"https://index.example.org/base"`, strings.Repeat(" ", maxConfig) + "{}"} {
		_, err := edit(t, newHub(t), text)
		assert.Error(t, err, text)
	}
}

// Where a crate or a search is asked for, the registry's own config.json says.
func TestGate(t *testing.T) {
	text := `{"dl":"https://static.example.org/crates/{crate}/{version}.crate?s={sha256-checksum}","api":"https://index.example.org/base/web"}`
	cached := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		assert.Equal(t, configPath, req.Key.Path)
		return &exchange.Response{Entry: &exchange.Entry{Status: 200}, Body: io.NopCloser(strings.NewReader(text))}, nil
	})
	var asked *exchange.Request
	h := newHub(t)
	gate := h.Gate(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		asked = req
		return &exchange.Response{}, nil
	}), cached)
	for _, test := range []struct{ target, origin, upstream string }{
		{"/_dl/Serde/1.0.0+b/" + sum, "crates", "/Serde/1.0.0+b.crate?s=" + sum},
		{"/api/v1/crates?q=a%20b", "", "/web/api/v1/crates?q=a%20b"},
		{"/se/rd/serde", "", "/se/rd/serde"},
		{"/config.json", "", "/config.json"},
	} {
		req, err := parse(t, h, test.target)
		require.NoError(t, err)
		_, err = gate.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, test.origin, asked.Origin)
		assert.Equal(t, test.upstream, asked.Target)
		assert.Equal(t, req.Key, asked.Key)
		assert.Equal(t, req.Digest, asked.Digest)
	}

	req, err := parse(t, h, "/_dl/serde/1.0.0/"+sum)
	require.NoError(t, err)
	for _, bad := range []string{"<html>", `{"dl":"https://elsewhere.example/"}`} {
		text = bad
		asked = nil
		_, err = gate.Get(t.Context(), req)
		var stated *exchange.Error
		require.ErrorAs(t, err, &stated)
		assert.Equal(t, http.StatusBadGateway, stated.Status)
		assert.Nil(t, asked)
	}
}

func FuzzEditConfig(f *testing.F) {
	f.Add(`{"dl":"https://static.example.org/crates/{crate}","api":"x","auth-required":true}`)
	f.Add(`{"dl":"https://index.example.org/base","DL":"x","dl":"\u0041"}`)
	h := newHub(f)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := edit(t, h, text)
		if err == nil {
			assert.True(t, json.Valid([]byte(got)), got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/config.json", "/1/a", "/se/rd/serde", "/_dl/a/1.0.0/" + sum, "/api/v1/crates?q=%"} {
		f.Add(seed)
	}
	h := newHub(f)
	f.Fuzz(func(t *testing.T, target string) {
		hubtest.Reparse(t, h, target)
	})
}
