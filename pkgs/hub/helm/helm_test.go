package helm

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/yaml"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub() *Hub {
	return New(hub.Options{
		Name:    "helm",
		Mirrors: []*url.URL{{Scheme: "https", Host: "charts.example.org", Path: "/stable"}},
		Files:   map[string]*url.URL{"cdn": {Scheme: "https", Host: "cdn.example.org", Path: "/c/"}},
	})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/index.yaml"},
		hubtest.Sample{Target: "/a/index.yaml"},
		hubtest.Sample{Target: "/charts/demo-1.0.0%2bb1.tgz"},
		hubtest.Sample{Target: "/demo-1.0.0.tgz?v=1"},
		hubtest.Sample{Target: "/demo-1.0.0.tgz.prov"},
		hubtest.Sample{Target: "/artifacthub-repo.yml"},
		hubtest.Sample{Target: "/_f/cdn/demo-1.0.0.tgz?v=1", Upstream: "/demo-1.0.0.tgz?v=1"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target, key, pkg, version string
		class                           freshness.Class
	}{
		{"index", "/index.yaml?x=1", "/index.yaml", "", "", freshness.Mutable},
		{"chart", "/my-chart-2-1.2.3-rc.1%2Bb.tgz", "/my-chart-2-1.2.3-rc.1+b.tgz", "my-chart-2", "1.2.3-rc.1+b", freshness.Immutable},
		{"chart with a v", "/x/demo-v1.2.3.tgz", "/x/demo-v1.2.3.tgz", "demo", "v1.2.3", freshness.Immutable},
		{"no version", "/demo.tgz", "/demo.tgz", "demo", "", freshness.Immutable},
		{"provenance", "/demo-1.2.3.tgz.prov", "/demo-1.2.3.tgz.prov", "demo", "1.2.3", freshness.Mutable},
		{"second host", "/_f/cdn/demo-1.2.3.tgz", "/_f/cdn/demo-1.2.3.tgz", "demo", "1.2.3", freshness.Immutable},
		{"its provenance", "/_f/cdn/demo-1.2.3.tgz.prov", "/_f/cdn/demo-1.2.3.tgz.prov", "demo", "1.2.3", freshness.Mutable},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := newHub().Parse(httptest.NewRequest("GET", test.target, nil))
			require.NoError(t, err)
			assert.Equal(t, test.key, req.Key.Path)
			assert.Equal(t, test.class, req.Policy.Class)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
		})
	}
	for _, target := range []string{"/", "/index.yaml/", "/index.yml", "/.tgz", "/a/.tgz", "/a.tgz/", "/_f/cdn/index.yaml", "/_f/other/a.tgz", "/_f/cdn/a.zip", "/api/charts"} {
		req, err := newHub().Parse(httptest.NewRequest("GET", target, nil))
		assert.Error(t, err, "%s became %+v", target, req)
	}
}

var (
	sumA = strings.Repeat("0a", 32)
	sumB = strings.Repeat("0b", 32)
)

var text = `---
# a comment
apiVersion: v1
urls:
- https://charts.example.org/stable/no.tgz
entries:
  demo:
  - apiVersion: v2
    description: |-
      urls:
      - https://charts.example.org/stable/no.tgz
    annotations:
      urls: |
        - https://charts.example.org/stable/no.tgz
    digest: ` + sumA + `
    sources:
    - https://charts.example.org/stable/no
    urls:
    - https://charts.example.org/stable/demo-2.0.0.tgz
    - 'https://cdn.example.org/c/demo-2.0.0.tgz?a=1&b=2'
    - "https://elsewhere.example/demo-2.0.0.tgz"
    version: 2.0.0
  - urls:
      - charts/demo-1.0.0.tgz
      - /stable/host/demo-1.0.0.tgz   # kept
      - https://charts.example.org/stable/../no.tgz
    digest: "sha256:` + strings.ToUpper(sumB) + `"
    version: 1.0.0
  empty: []
  other:
    -   urls: [ "https://cdn.example.org/c/o-1.tgz" ]
        digest: short
    -   digest: ` + sumA + `
        urls: ["https://cdn.example.org/c/o-2.tgz", "https://cdn.example.org/c/o-3.tgz"]
generated: "2026-01-01T00:00:00Z"
entries2:
  demo:
  - urls:
    - https://charts.example.org/stable/no.tgz
`

var edits = [][2]string{
	{"    - https://charts.example.org/stable/demo-2.0.0.tgz\n", "    - \"demo-2.0.0.tgz\"\n"},
	{"'https://cdn.example.org/c/demo-2.0.0.tgz?a=1&b=2'", `"http://proxy/helm/_f/cdn/demo-2.0.0.tgz?a=1&b=2"`},
	{"      - /stable/host/demo-1.0.0.tgz   # kept", "      - \"host/demo-1.0.0.tgz\"   # kept"},
	{`[ "https://cdn.example.org/c/o-1.tgz" ]`, `[ "_f/cdn/o-1.tgz" ]`},
}

func edit(t testing.TB, in, at, up string) (string, error) {
	t.Helper()
	from, err := url.Parse("https://charts.example.org/stable" + at)
	require.NoError(t, err)
	var b strings.Builder
	h := newHub()
	x := &copier{Copy: hub.NewCopy(h.links, "http://proxy/helm", from, nil), hub: h, up: up}
	err = x.copy(&b, strings.NewReader(in))
	return b.String(), err
}

func TestYAML(t *testing.T) {
	in := strings.Replace(text, "/demo-1.0.0.tgz   # kept", "/demo-1.0.0.tgz", 1)
	want := in
	for _, e := range edits {
		e[0], e[1] = strings.TrimSuffix(e[0], "   # kept"), strings.TrimSuffix(e[1], "   # kept")
		require.Contains(t, want, e[0])
		want = strings.Replace(want, e[0], e[1], 1)
	}
	got, err := edit(t, in, "/index.yaml", "")
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, err = edit(t, strings.ReplaceAll(in, "\n", "\r\n"), "/index.yaml", "")
	require.NoError(t, err)
	assert.Equal(t, strings.ReplaceAll(want, "\n", "\r\n"), got)

	got, err = edit(t, "entries:\n  a:\n  - urls:\n    - https://cdn.example.org/c/a.tgz", "/x/index.yaml", "../")
	require.NoError(t, err)
	assert.Equal(t, "entries:\n  a:\n  - urls:\n    - \"../_f/cdn/a.tgz\"", got)

	long := "entries:\n  a:\n  - description: " + strings.Repeat("urls: ", yaml.MaxLine) + "\n    urls:\n    - https://cdn.example.org/c/a.tgz\n"
	got, err = edit(t, long, "/index.yaml", "")
	require.NoError(t, err)
	assert.True(t, strings.Replace(long, "https://cdn.example.org/c/a.tgz", `"_f/cdn/a.tgz"`, 1) == got, got[len(got)-100:])

	for _, in := range []string{"", "<html>", "apiVersion: v1\n", `{"apiVersion":"v1"}`, `{"entries":{"a":[{"urls":["x`, `{"entries":{}}{}`} {
		_, err := edit(t, in, "/index.yaml", "")
		assert.Error(t, err, in)
	}
}

func TestJSON(t *testing.T) {
	in := `{"apiVersion":"v1", "entries":{"a":[{"urls":["https://charts.example.org/stable/a-1.tgz","b-1.tgz",1],"sources":["https://charts.example.org/stable/x"],"digest":"` + sumA + `"}]}}`
	got, err := edit(t, in, "/index.yaml", "")
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(in, "https://charts.example.org/stable/a-1.tgz", "a-1.tgz", 1), got)
	assert.Equal(t, map[string]exchange.Digest{
		"/a-1.tgz": exchange.Digest("sha256:" + sumA), "/b-1.tgz": exchange.Digest("sha256:" + sumA),
	}, learned(t, in))
}

func learned(t testing.TB, in string) map[string]exchange.Digest {
	got := map[string]exchange.Digest{}
	from, err := url.Parse("https://charts.example.org/stable/index.yaml")
	require.NoError(t, err)
	h := newHub()
	teach := func(path string, f exchange.Fact) { got[path] = f.Digest }
	x := &copier{Copy: hub.NewCopy(h.links, "", from, teach), hub: h}
	require.NoError(t, x.copy(io.Discard, strings.NewReader(in)))
	return got
}

func TestLearn(t *testing.T) {
	assert.Equal(t, map[string]exchange.Digest{
		"/demo-2.0.0.tgz":                exchange.Digest("sha256:" + sumA),
		"/_f/cdn/demo-2.0.0.tgz?a=1&b=2": exchange.Digest("sha256:" + sumA),
		"/charts/demo-1.0.0.tgz":         exchange.Digest("sha256:" + sumB),
	}, learned(t, text))
}

// FuzzIndex: what is changed is links alone, so that what a parser of YAML reads
// differs in nothing else, and what it cannot read is not made readable.
func FuzzIndex(f *testing.F) {
	f.Add(text)
	f.Add(`{"entries":{"a":[{"urls":["https://cdn.example.org/c/a.tgz"]}]}}`)
	f.Add("entries:\n a:\n - urls:\n   - 'it''s'\n   - \"\\u0041\"\n   - '\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := edit(t, in, "/index.yaml", "")
		if err != nil {
			return
		}
		if json.Valid([]byte(in)) {
			require.True(t, json.Valid([]byte(got)))
			return
		}
		if !strings.Contains(in, "example.org") {
			require.Equal(t, in, got)
		}
		require.Equal(t, strings.Count(in, "\n"), strings.Count(got, "\n"))
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/index.yaml", "/a-1.0.0.tgz?x", "/_f/cdn/a%2e.tgz.prov", "/artifacthub-repo.yml"} {
		f.Add(seed)
	}
	h := newHub()
	f.Fuzz(func(t *testing.T, target string) {
		if req, again, ok := hubtest.Reparse(t, h, target); ok {
			assert.Equal(t, req.Policy, again.Policy)
		}
	})
}
