package nuget

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

var mirror = &url.URL{Scheme: "https", Host: "api.example.org", Path: "/feed"}

func newHub() *Hub {
	return New(hub.Options{
		Name: "nuget", Mirrors: []*url.URL{mirror},
		Files: map[string]*url.URL{"search": {Scheme: "https", Host: "search.example.org"}},
	})
}

func parse(t testing.TB, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return newHub().Parse(&http.Request{Method: http.MethodGet, URL: u})
}

func TestSuite(t *testing.T) {
	client := http.Header{"X-Nuget-Client-Version": {"6.8.0"}, "X-Nuget-Session-Id": {"s"}}
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/v3/index.json", Header: client},
		hubtest.Sample{Target: "/flat/demo.core/1.0.0-rc.1/demo.core.1.0.0-rc.1.nupkg", Header: client},
		hubtest.Sample{Target: "/flat/demo/index.json", Header: client},
		hubtest.Sample{Target: "/reg/demo/page/1.0.0/2.0.0.json"},
		hubtest.Sample{Target: "/query?q=a%20b&skip=0&take=26"},
		hubtest.Sample{Target: "/query2/?q=a"},
		hubtest.Sample{Target: "/_f/search/query?q=a", Upstream: "/query?q=a"},
		hubtest.Sample{Target: "/_f/search/flat/demo/1.0.0/demo.1.0.0.nupkg", Upstream: "/flat/demo/1.0.0/demo.1.0.0.nupkg"},
	)
}

func TestParse(t *testing.T) {
	const forever = 0
	for _, test := range []struct {
		name, target string
		class        freshness.Class
		ttl          time.Duration
		pkg, version string
	}{
		{"service index", "/v3/index.json", freshness.Mutable, serviceTTL, "", ""},
		{"service index at the top", "/index.json", freshness.Mutable, serviceTTL, "", ""},
		{"versions", "/flat/demo/index.json", freshness.Mutable, ttl, "demo", ""},
		{"package", "/flat/demo/1.0.0/demo.1.0.0.nupkg", freshness.Immutable, forever, "demo", "1.0.0"},
		{"symbols", "/flat/demo/1.0.0/demo.1.0.0.snupkg", freshness.Immutable, forever, "demo", "1.0.0"},
		{"manifest", "/flat/demo/1.0.0/demo.nuspec", freshness.Immutable, forever, "demo", "1.0.0"},
		{"package of a second host", "/_f/search/x/demo/1.0.0/demo.1.0.0.nupkg", freshness.Immutable, forever, "demo", "1.0.0"},
		{"package with a query", "/x/demo/1.0.0/demo.1.0.0.nupkg?sig=1", freshness.Immutable, forever, "demo", "1.0.0"},
		{"package under another name", "/flat/demo/1.0.0/demo.2.0.0.nupkg", freshness.Mutable, ttl, "demo", ""},
		{"package nowhere", "/demo.1.0.0.nupkg", freshness.Mutable, ttl, "", ""},
		{"registration", "/reg/demo/index.json", freshness.Mutable, ttl, "demo", ""},
		{"search", "/query?q=demo", freshness.Mutable, searchTTL, "", ""},
		{"search of a second host", "/_f/search/query?q=demo", freshness.Mutable, searchTTL, "", ""},
		{"readme", "/flat/demo/1.0.0/readme", freshness.Mutable, ttl, "demo", ""},
		{"page of a registration", "/reg/demo/page/1.0.0/2.0.0.json", freshness.Mutable, ttl, "demo", ""},
		{"leaf of a registration", "/reg/demo/1.0.0-rc.1.json", freshness.Mutable, ttl, "demo", ""},
		{"catalog", "/v3/catalog0/index.json", freshness.Mutable, ttl, "", ""},
		{"leaf of the catalog", "/v3/catalog0/data/2018.10.15.03/demo.1.0.0.json", freshness.Mutable, ttl, "", ""},
		{"vulnerabilities", "/v3/vulnerabilities/index.json", freshness.Mutable, ttl, "", ""},
		{"versions of a second host", "/_f/search/demo/index.json", freshness.Mutable, ttl, "demo", ""},
		{"index of a second host", "/_f/search/index.json", freshness.Mutable, ttl, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, test.target)
			require.NoError(t, err)
			assert.Equal(t, test.target, req.Key.Path)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: test.ttl}, req.Policy)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
		})
	}
	req, err := parse(t, "/v3/index.json?x=1")
	require.NoError(t, err)
	assert.Equal(t, "/v3/index.json", req.Key.Path, "no query")
	for _, target := range []string{"/", "/flat/", "/_f/other/x.json", "/_f/search", "/_f/https:/evil.example/x"} {
		_, err := parse(t, target)
		assert.Error(t, err, target)
	}
}

// edit is what a client whose hub is at http://proxy/n gets of a document.
func edit(t testing.TB, text string, service, secure bool) (string, error) {
	t.Helper()
	h, b, base := newHub(), strings.Builder{}, "http://proxy/n"
	if secure {
		base = "https://proxy/n"
	}
	c := hub.NewCopy(h.links, base, mirror.JoinPath("/v3/index.json"), nil)
	if service {
		err := h.copyService(&b, strings.NewReader(text), c)
		return b.String(), err
	}
	err := copyDocument(&b, strings.NewReader(text), c)
	return b.String(), err
}

func TestEditService(t *testing.T) {
	text := func(resources ...string) string {
		return `{"version":"3.0.0","resources":[` + strings.Join(resources, ",") + `],"@context":{"@vocab":"http://schema.example.org/#"}}`
	}
	resource := func(id, kind string) string { return `{"@id":"` + id + `","@type":` + kind + `,"comment":"1e400"}` }
	for _, test := range []struct{ name, id, kind, want string }{
		{"base", "https://api.example.org/feed/flat/", `"PackageBaseAddress/3.0.0"`, "http://proxy/n/flat/"},
		{"relative", "../reg/", `"RegistrationsBaseUrl"`, "http://proxy/n/reg/"},
		{"several types", "https://api.example.org/feed/reg/", `["X/1","RegistrationsBaseUrl/3.6.0"]`, "http://proxy/n/reg/"},
		{"second host", "https://search.example.org/query", `"SearchQueryService/3.5.0"`, "http://proxy/n/_f/search/query"},
		{"template", "https://api.example.org/feed/flat/{lower_id}/{lower_version}/readme", `"ReadmeUriTemplate/6.13.0"`, "http://proxy/n/flat/{lower_id}/{lower_version}/readme"},
		{"elsewhere", "https://elsewhere.example/query", `"SearchQueryService"`, "https://elsewhere.example/query"},
		{"almost there", "https://api.example.org/feedme/", `"PackageBaseAddress/3.0.0"`, "https://api.example.org/feedme/"},
		{"unknown", "https://api.example.org/feed/new", `"NewThing/1.0.0"`, "https://api.example.org/feed/new"},
		{"for people", "https://api.example.org/feed/{id}", `"ReportAbuseUriTemplate/3.0.0"`, "https://api.example.org/feed/{id}"},
		{"signatures", "https://api.example.org/feed/signatures/5.0.0/index.json", `"RepositorySignatures/5.0.0"`, "https://api.example.org/feed/signatures/5.0.0/index.json"},
		{"publish", "https://api.example.org/feed/push", `"PackagePublish/2.0.0"`, ""},
		{"symbols", "https://api.example.org/feed/push", `"SymbolPackagePublish/4.9.0"`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := edit(t, text(resource(test.id, test.kind), resource("https://x.example/", `"X"`)), true, false)
			require.NoError(t, err)
			want := []string{resource(test.want, test.kind), resource("https://x.example/", `"X"`)}
			if test.want == "" {
				want = want[1:]
			}
			assert.Equal(t, text(want...), got)
		})
	}
	got, err := edit(t, text(resource("https://api.example.org/feed/s/index.json", `"RepositorySignatures/5.0.0"`)), true, true)
	require.NoError(t, err)
	assert.Contains(t, got, `"https://proxy/n/s/index.json"`, "a hub that is had by https has the signatures too")

	for name, text := range map[string]string{
		"a page": "<html>", "nothing": "", "no resources": `{"version":"3.0.0"}`, "none of them": `{"resources":[]}`, "cut": `{"resources":[{"@id":"x","@type":"X"}`,
		"a number": `{"resources":3}`, "a type that is none": `{"resources":[{"@id":"x","@type":3}]}`, "two": `{"resources":[{"@type":"X"}]}{}`,
	} {
		_, err := edit(t, text, true, false)
		assert.Error(t, err, name)
	}
}

func TestEditDocument(t *testing.T) {
	const u, p = "https://api.example.org/feed", "http://proxy/n"
	for _, test := range []struct{ name, text, want string }{
		{
			"registration",
			`{"@id":"U/reg/demo/index.json","count":1, "items":[{"@id":"U/reg/demo/index.json#page/1/2","parent":"U/reg/demo/index.json","items":[{"@id":"U/reg/demo/1.json","catalogEntry":{"@id":"U/c/1.json","id":"Demo","projectUrl":"U/","packageContent":"U/flat/demo/1/demo.1.nupkg","dependencyGroups":[{"@id":"U/c/1.json#g","dependencies":[{"id":"Leaf","registration":"U/reg/leaf/index.json"}]}]},"packageContent":"U/flat/demo/1/demo.1.nupkg","registration":"U/reg/demo/index.json"}]}],"@context":{"@vocab":"U/","items":{"@id":"items"},"parent":{"@id":"U/parent"}}}`,
			`{"@id":"P/reg/demo/index.json","count":1, "items":[{"@id":"P/reg/demo/index.json#page/1/2","parent":"P/reg/demo/index.json","items":[{"@id":"P/reg/demo/1.json","catalogEntry":{"@id":"P/c/1.json","id":"Demo","projectUrl":"U/","packageContent":"P/flat/demo/1/demo.1.nupkg","dependencyGroups":[{"@id":"U/c/1.json#g","dependencies":[{"id":"Leaf","registration":"P/reg/leaf/index.json"}]}]},"packageContent":"P/flat/demo/1/demo.1.nupkg","registration":"P/reg/demo/index.json"}]}],"@context":{"@vocab":"U/","items":{"@id":"items"},"parent":{"@id":"U/parent"}}}`,
		},
		{
			"page", `{"@id":"U/reg/demo/page/1/2.json","parent":"U/reg/demo/index.json","items":[{"@id":"U/reg/demo/1.json","packageContent":"https://elsewhere.example/x.nupkg"}]}`,
			`{"@id":"P/reg/demo/page/1/2.json","parent":"P/reg/demo/index.json","items":[{"@id":"P/reg/demo/1.json","packageContent":"https://elsewhere.example/x.nupkg"}]}`,
		},
		{
			"leaf", `{"@id":"U/reg/demo/1.json","listed":true,"catalogEntry":"U/c/1.json","packageContent":"U/flat/demo/1/demo.1.nupkg","registration":"U/reg/demo/index.json"}`,
			`{"@id":"P/reg/demo/1.json","listed":true,"catalogEntry":"P/c/1.json","packageContent":"P/flat/demo/1/demo.1.nupkg","registration":"P/reg/demo/index.json"}`,
		},
		{
			"search", `{"totalHits":1,"data":[{"@id":"U/reg/demo/index.json","registration":"U/reg/demo/index.json","iconUrl":"U/icon","versions":[{"version":"1","@id":"U/reg/demo/1.json"}]}]}`,
			`{"totalHits":1,"data":[{"@id":"P/reg/demo/index.json","registration":"P/reg/demo/index.json","iconUrl":"U/icon","versions":[{"version":"1","@id":"P/reg/demo/1.json"}]}]}`,
		},
		{"names", `{"totalHits":1e400,"data":["U/not-a-link"]}`, `{"totalHits":1e400,"data":["U/not-a-link"]}`},
		{"versions", `{"versions":["1.0.0"]}`, `{"versions":["1.0.0"]}`},
		{"vulnerabilities", `[{"@name":"base","@id":"U/v/base.json","@updated":"2026"}]`, `[{"@name":"base","@id":"P/v/base.json","@updated":"2026"}]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			spell := strings.NewReplacer("U/", u+"/", "P/", p+"/").Replace
			got, err := edit(t, spell(test.text), false, false)
			require.NoError(t, err)
			assert.Equal(t, spell(test.want), got)
		})
	}
	for _, text := range []string{"", "<html>", `{"items":[`, `{} {}`} {
		_, err := edit(t, text, false, false)
		assert.Error(t, err, text)
	}
}

func FuzzEdit(f *testing.F) {
	f.Add(`{"resources":[{"@id":"https://api.example.org/feed/{id}","@type":["PackageBaseAddress/3.0.0"]}]}`, true)
	f.Add(`{"@id":"../x","items":[{"items":[{"catalogEntry":{"@id":"https://search.example.org/\u007b"}}]}]}`, false)
	f.Add(`[{"@id":"https://api.example.org/feed/?q={a}#b"}]`, false)
	f.Fuzz(func(t *testing.T, text string, service bool) {
		if !json.Valid([]byte(text)) {
			return
		}
		got, err := edit(t, text, service, false)
		if err == nil {
			assert.True(t, json.Valid([]byte(got)), got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/v3/index.json", "/a/b/c/b.c.nupkg", "/_f/search/q?x=%", "/a%2fb/1/a%2fb.1.nupkg", "/q/?q="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req, err := newHub().Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		again, err := parse(t, req.Key.Path)
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
		assert.Equal(t, req.Policy, again.Policy)
	})
}
