package terraform

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

var (
	upstream = &url.URL{Scheme: "https", Host: "mirror.example.org", Path: "/tf"}
	sum      = strings.Repeat("0a", 32)
)

// newHub is one of a registry if there are hosts, else of a network mirror.
func newHub(hosts ...string) *Hub {
	files := map[string]*url.URL{"releases": {Scheme: "https", Host: "releases.example.org"}}
	return New(hub.Options{Name: "tf", Mirrors: []*url.URL{upstream}, Files: files}, Options{Hosts: hosts})
}

func parse(t testing.TB, h *Hub, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u})
}

const host = "registry.example.org"

var demo = place{kind: version, host: host, provider: "corp/demo", version: "1.0.0"}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/" + host + "/corp/demo/index.json"},
		hubtest.Sample{Target: "/" + host + "/corp/demo/1.0.0.json"},
		hubtest.Sample{Target: "/" + host + "/corp/demo/terraform-provider-demo_1.0.0_linux_amd64.zip"},
		hubtest.Sample{Target: "/_f/releases/x.zip?sig=1", Upstream: "/x.zip?sig=1"},
	)
	hubtest.Run(t, newHub(host),
		hubtest.Sample{Target: "/" + host + "/corp/demo/index.json", Upstream: "/corp/demo/versions"},
		hubtest.Sample{Target: "/" + host + "/corp/demo/1.0.0-rc.1.json"},
		hubtest.Sample{Target: "/" + host + "/corp/demo/1.0.0/linux_amd64.json", Upstream: "/corp/demo/1.0.0/download/linux/amd64"},
		hubtest.Sample{Target: "/files/demo.zip"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target string
		class        freshness.Class
		pkg, version string
	}{
		{"index", "/registry.example.org/corp/demo/index.json", freshness.Mutable, "corp/demo", ""},
		{"version", "/registry.example.org/corp/demo/1.0.0.json", freshness.Mutable, "corp/demo", "1.0.0"},
		{"archive", "/registry.example.org/corp/demo/x_1.0.0_linux_amd64.zip", freshness.Immutable, "corp/demo", "1.0.0"},
		{"another name", "/registry.example.org/corp/demo/x_latest_linux_amd64.zip", freshness.Immutable, "corp/demo", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, h := range []*Hub{newHub(), newHub(host)} {
				req, err := parse(t, h, test.target+"?x=1")
				require.NoError(t, err)
				assert.Equal(t, test.target, req.Key.Path)
				assert.Equal(t, freshness.Policy{Class: test.class, TTL: ttl}, req.Policy)
				assert.Equal(t, test.pkg, req.Package)
				assert.Equal(t, test.version, req.Version)
			}
		})
	}
	for _, target := range []string{
		"/", "/registry.example.org/corp/demo/", "/registry.example.org/corp/index.json", "/registry.example.org/corp/demo/latest.json",
		"/registry.example.org/corp/demo/versions", "/registry.example.org/co%20rp/demo/index.json", "/localhost/corp/demo/index.json",
		"/_f/other/x.zip", "/_f/https/evil.example/x.zip", "/a/.zip/", "/v1/providers/corp/demo/versions",
	} {
		for _, h := range []*Hub{newHub(), newHub(host)} {
			_, err := parse(t, h, target)
			assert.Error(t, err, target)
		}
	}
	_, err := parse(t, newHub(host), "/other.example.org/corp/demo/index.json")
	assert.Error(t, err, "a host that is not this registry's")
	_, err = parse(t, newHub(), "/registry.example.org/corp/demo/1.0.0/linux_amd64.json")
	assert.Error(t, err, "no path of a network mirror")
}

func TestCopyVersion(t *testing.T) {
	from := upstream.JoinPath("/" + host + "/corp/demo/1.0.0.json")
	for _, test := range []struct{ name, link, want, path string }{
		{"relative", "demo_1.0.0.zip", "demo_1.0.0.zip", "/registry.example.org/corp/demo/demo_1.0.0.zip"},
		{"absolute", "https://mirror.example.org/tf/files/demo%2b1.zip", "../../../files/demo%2b1.zip", "/files/demo+1.zip"},
		{"of the host", "/tf/files/demo.zip", "../../../files/demo.zip", "/files/demo.zip"},
		{"second host", "https://releases.example.org/demo.zip?sig=1", "../../../_f/releases/demo.zip?sig=1", "/_f/releases/demo.zip?sig=1"},
		{"elsewhere", "https://elsewhere.example/demo.zip", "https://elsewhere.example/demo.zip", ""},
		{"above", "../../../../x.zip", "../../../../x.zip", ""},
		{"no archive", "https://mirror.example.org/tf/files/demo.exe", "../../../files/demo.exe", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := func(link string) string {
				return `{"archives": {"linux_amd64":{"hashes":["h1:x=", "zh:` + sum + `"],"url":"` + link + `","size":1e400}, "b":{"url":"x"}}}`
			}
			var b strings.Builder
			taught := map[string]exchange.Digest{}
			h, teach := newHub(), func(p string, f exchange.Fact) { taught[p] = f.Digest }
			require.NoError(t, h.copyVersion(&b, strings.NewReader(text(test.link)), hub.NewCopy(h.links, "", from, teach), demo))
			assert.Equal(t, text(test.want), b.String())
			if test.path == "" {
				assert.Empty(t, taught)
			} else {
				assert.Equal(t, map[string]exchange.Digest{test.path: exchange.Digest("sha256:" + sum)}, taught)
			}
		})
	}
	for _, text := range []string{"", "<html>", `{"archives":{`} {
		h := newHub()
		assert.Error(t, h.copyVersion(io.Discard, strings.NewReader(text), hub.NewCopy(h.links, "", from, nil), demo), text)
	}
}

// answers is a source of documents by the target that is asked for.
func answers(documents map[string]string) exchange.SourceFunc {
	return func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text, ok := documents[req.Target]
		e := &exchange.Entry{Key: req.Key, Status: http.StatusOK, Mirror: upstream.String(), Size: int64(len(text))}
		switch {
		case !ok:
			e.Status = http.StatusNotFound
		case text == "broken":
			return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "down"}
		}
		return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(text))}, nil
	}
}

const versions = `{"id":"corp/demo","versions":[
	{"version":"1.0.0","protocols":["5.0"],"platforms":[{"os":"linux","arch":"amd64"},{"os":"darwin","arch":"arm64"},{"os":"../x","arch":"y"}]},
	{"version":"../../x","platforms":[]},{"version":"2.0.0-beta1"}],"warnings":null}`

func TestRegistry(t *testing.T) {
	documents := map[string]string{
		"/corp/demo/versions":                      versions,
		"/corp/demo/1.0.0/download/linux/amd64":    `{"download_url":"https://releases.example.org/demo_linux.zip","shasum":"` + sum + `","signing_keys":{}}`,
		"/corp/demo/1.0.0/download/darwin/arm64":   `{"download_url":"https://elsewhere.example/demo_darwin.zip","shasum":"` + sum + `"}`,
		"/corp/broken/versions":                    "broken",
		"/corp/page/versions":                      "<html>",
		"/corp/half/versions":                      versions,
		"/corp/half/1.0.0/download/linux/amd64":    "broken",
		"/corp/half/1.0.0/download/darwin/arm64":   `{"download_url":"x.zip"}`,
		"/corp/text/versions":                      versions,
		"/corp/text/1.0.0/download/linux/amd64":    `{"download_url":""}`,
		"/corp/less/versions":                      versions,
		"/corp/less/1.0.0/download/linux/amd64":    `{"download_url":"x.zip"}`,
		"/corp/nowhere/versions/does/not/say/this": "",
	}
	h := newHub(host)
	for _, test := range []struct {
		name, path string
		want       string // "": an error
		status     int
	}{
		{"index", "demo/index.json", `{"versions":{"1.0.0":{},"2.0.0-beta1":{}}}` + "\n", 200},
		{"version", "demo/1.0.0.json", `{"archives":{"darwin_arm64":{"hashes":["zh:` + sum + `"],"url":"https://elsewhere.example/demo_darwin.zip"},` +
			`"linux_amd64":{"hashes":["zh:` + sum + `"],"url":"../../../_f/releases/demo_linux.zip"}}}`, 200},
		{"without archives", "demo/2.0.0-beta1.json", `{"archives":{}}`, 200},
		{"an archive that is not there", "less/1.0.0.json", `{"archives":{"linux_amd64":{"url":"../../../corp/less/1.0.0/download/linux/x.zip"}}}`, 200},
		{"no such version", "demo/3.0.0.json", "", 404},
		{"no such provider", "none/3.0.0.json", "", 404},
		{"a registry that is down", "broken/1.0.0.json", "", 502},
		{"a page", "page/1.0.0.json", "", 502},
		{"a page as an index", "page/index.json", "", 502},
		{"one archive cannot be told of", "half/1.0.0.json", "", 502},
		{"an archive that is nowhere", "text/1.0.0.json", "", 502},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, h, "/"+host+"/corp/"+test.path)
			require.NoError(t, err)
			resp, err := h.Rewrite(answers(documents)).Get(t.Context(), req)
			if test.want == "" {
				var stated *exchange.Error
				require.ErrorAs(t, err, &stated)
				assert.Equal(t, test.status, stated.Status)
				return
			}
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(text))
			assert.Equal(t, req.Key, resp.Entry.Key)
			assert.EqualValues(t, len(text), resp.Entry.Size)
			assert.NotEmpty(t, resp.Entry.Header.Get("ETag"))
			req.Head = true
			head, err := h.Rewrite(answers(documents)).Get(t.Context(), req)
			require.NoError(t, err)
			assert.Equal(t, resp.Entry, head.Entry)
		})
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add(versions)
	f.Add(`{"archives":{"a":{"hashes":["zh:` + sum + `"],"url":"/tf/x.zip"}}}`)
	f.Add(`{"download_url":"../x.zip","shasum":"` + sum + `"}`)
	from := upstream.JoinPath("/a")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		if writeIndex(&b, strings.NewReader(text)) == nil {
			assert.True(t, json.Valid(b.Bytes()), b.String())
		}
		b.Reset()
		h := newHub()
		if json.Valid([]byte(text)) && h.copyVersion(&b, strings.NewReader(text), hub.NewCopy(h.links, "", from, func(p string, _ exchange.Fact) {
			_, err := parse(t, h, p)
			assert.NoError(t, err)
		}), demo) == nil {
			assert.True(t, json.Valid(b.Bytes()), b.String())
		}
		if o, _, err := h.readOffer(strings.NewReader(text), from, demo); err == nil {
			assert.NotEmpty(t, o.URL)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/registry.example.org/a/b/index.json", "/a.b/c/d/1.0.json", "/registry.example.org/a/b/1.0/x_y.json", "/_f/releases/%2e.zip?%", "/a%2fb.zip"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		for _, h := range []*Hub{newHub(), newHub(host)} {
			req, err := h.Parse(&http.Request{URL: u})
			if err != nil {
				continue
			}
			again, err := parse(t, h, req.Key.Path)
			require.NoError(t, err)
			assert.Equal(t, req.Key, again.Key)
		}
	})
}
