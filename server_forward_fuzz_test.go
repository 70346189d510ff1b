package cacheproxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
)

// FuzzForward: whatever URL is asked for, what is found for it is below a hub that
// has its host, or it is refused.
func FuzzForward(f *testing.F) {
	cfg, _, err := parse("config.yaml", []byte(`
forward: {enabled: true}
upstream: [{server: 'https://a.example.org/pub', path: {match: '^/(iso|img)/(.*)', replace: '/$1/$2'}}]
hubs: [{name: deb, upstream: [{server: 'http://b.example.org:8080/debian/'}]}]
`))
	require.NoError(f, err)
	to := (&Server{}).forwarding(cfg)
	for _, seed := range []string{
		"http://b.example.org:8080/debian/x?y", "https://a.example.org/pub/iso/%2e%2e/x", "/HTTPS///a.example.org/pub/img/x", "http://HTTPS///b.example.org:8080/debian/",
		"/HTTPS///", "http://u:p@a.example.org/pub/iso/x", "http://[::1]/", "http://a.example.org:443/pub//iso/", "/HTTPS///a.example.org/pub/iso/x#y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", URL: u, RequestURI: target, Host: u.Host, Header: http.Header{}}
		rec := &handlerctx.Record{}
		found := ""
		if !to.match(r, rec, func(in *http.Request, rec *handlerctx.Record) {
			found, rec.URL = in.RequestURI, in.URL
			rec.Handler = http.NotFoundHandler()
			assert.Empty(t, in.URL.Host)
		}) {
			return
		}
		require.NotNil(t, rec.Handler)
		if found != "" && u.Host != "localhost" {
			assert.True(t, strings.HasPrefix(found, "/deb/") || strings.HasPrefix(found, "/iso/") || strings.HasPrefix(found, "/img/"), "%q is %q", target, found)
			assert.True(t, strings.Contains(strings.ToLower(target), ".example.org"), target)
		}
		rec.Handler.ServeHTTP(httptest.NewRecorder(), r)
	})
}
