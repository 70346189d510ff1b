package terraform

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// newPrivate is newHub with names that are private.
func newPrivate(t testing.TB, hosts ...string) *Hub {
	h := newHub(hosts...)
	m, err := hub.NewMembers([]hub.Member{{Name: "corp", Private: []string{"corp"}}, {Name: "public"}}, strings.ToLower)
	require.NoError(t, err)
	h.hub.Members = m
	return h
}

// TestLeadPrivate: where names are private, the link to an archive says whose it is.
func TestLeadPrivate(t *testing.T) {
	from := upstream.JoinPath("/" + host + "/corp/demo/1.0.0.json")
	for _, test := range []struct{ name, link, want, origin, target string }{
		{"relative", "demo_1.0.0.zip", "demo_1.0.0.zip", "", "/" + host + "/corp/demo/demo_1.0.0.zip"},
		{"relative to elsewhere", "../../../files/demo.zip", "../../../_p/" + host + "/corp/demo/files/demo.zip", "", "/files/demo.zip"},
		{"of another provider's", "../lib/demo.zip", "../../../_p/" + host + "/corp/demo/" + host + "/corp/lib/demo.zip", "", "/" + host + "/corp/lib/demo.zip"},
		{"absolute", "https://mirror.example.org/tf/files/demo%2b1.zip", "../../../_p/" + host + "/corp/demo/files/demo%2b1.zip", "", "/files/demo%2b1.zip"},
		{"second host", "https://releases.example.org/demo.zip?sig=1", "../../../_p/" + host + "/corp/demo/_f/releases/demo.zip?sig=1", "releases", "/demo.zip?sig=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newPrivate(t)
			var b strings.Builder
			taught := ""
			text := `{"archives":{"linux_amd64":{"hashes":["zh:` + sum + `"],"url":"` + test.link + `"}}}`
			require.NoError(t, h.copyVersion(&b, strings.NewReader(text), hub.NewCopy(h.links, "", from, func(p string, _ exchange.Fact) { taught = p }), demo))
			assert.Contains(t, b.String(), `"url":"`+test.want+`"`)
			path := "/" + strings.TrimPrefix(test.want, up)
			if !strings.HasPrefix(test.want, up) {
				path = "/" + host + "/corp/demo/" + test.want
			}
			req, err := parse(t, h, path)
			require.NoError(t, err)
			assert.Equal(t, taught, req.Key.Path)
			assert.Equal(t, test.origin, req.Origin)
			assert.Equal(t, test.target, req.Target)
			assert.Equal(t, "corp/demo", req.Package)
			again, err := parse(t, h, req.Key.Path)
			require.NoError(t, err)
			assert.Equal(t, req.Key, again.Key)
			assert.Equal(t, "/"+host+"/corp/demo/index.json", h.Index(req).Key.Path)
		})
	}
}

func TestParsePrivate(t *testing.T) {
	const of = "/_p/" + host + "/corp/demo/"
	for _, target := range []string{
		"/files/demo.zip", "/_f/releases/demo.zip", "/_f/releases/demo", of + "demo.exe", of + "_f/other/demo.zip", of + host + "/corp/demo/index.json",
		"/_p/localhost/corp/demo/x.zip", "/_p/" + host + "/corp/x.zip", of, of + of[1:] + "x.zip", "/_p/" + host + "/co%2Frp/demo/x.zip",
	} {
		for _, h := range []*Hub{newPrivate(t), newPrivate(t, host)} {
			req, err := parse(t, h, target)
			assert.Error(t, err, "%s: %+v", target, req)
		}
	}
	_, err := parse(t, newHub(), of+"files/demo.zip")
	assert.Error(t, err, "a second way to one archive")
	req, err := parse(t, newPrivate(t, host), of+"files/terraform-provider-demo_1.0.0_linux_amd64.zip")
	require.NoError(t, err)
	assert.Equal(t, "1.0.0", req.Version)
	req, err = parse(t, newPrivate(t, host), of+"files/a%2fb%2Bc//x.zip")
	require.NoError(t, err)
	assert.Equal(t, of+"files/a%2Fb+c/x.zip", req.Key.Path)
	assert.Equal(t, "/files/a%2fb%2Bc/x.zip", req.Target)
}

func FuzzParsePrivate(f *testing.F) {
	f.Add("/_p/" + host + "/corp/demo/_f/releases/a%2fb.zip?x=1")
	f.Add("/_p//" + host + "/./corp/demo/files//x.zip")
	h := newPrivate(f)
	f.Fuzz(func(t *testing.T, target string) {
		if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
			return
		}
		req, err := tryParse(h, target)
		if err != nil {
			return
		}
		again, err := tryParse(h, req.Key.Path)
		require.NoError(t, err, req.Key.Path)
		assert.Equal(t, req.Key, again.Key)
		assert.NotEmpty(t, req.Package)
		assert.True(t, strings.HasPrefix(req.Target, "/"), req.Target)
		h.Index(req)
	})
}

func tryParse(h *Hub, target string) (*exchange.Request, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	return h.Parse(&http.Request{URL: u})
}
