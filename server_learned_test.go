package cacheproxy

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLearnFiles: a host that nobody has configured is a second host once an index
// of the mirror has linked to it, and stays one; but only a public one, where the
// mirror may lead.
func TestLearnFiles(t *testing.T) {
	for _, c := range []struct {
		name, options, redirect, public string
		linked                          bool // the link leads here
		code                            int
	}{
		{"learned", "options: {learn-files: true}", "", "allowed-upstreams: [127.0.0.0/8]\n", true, 200},
		{"where redirects may lead", "options: {learn-files: true}", "^http://127[.]", "allowed-upstreams: [127.0.0.0/8]\n", true, 200},
		{"not public", "options: {learn-files: true}", "", "", true, 502},
		{"elsewhere", "options: {learn-files: true}", "^https://cdn[.]example[.]org/", "allowed-upstreams: [127.0.0.0/8]\n", false, 404},
		{"not asked for", "options: {}", "", "allowed-upstreams: [127.0.0.0/8]\n", false, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				fmt.Fprint(w, "content of "+r.URL.Path)
			}))
			defer second.Close()
			mirror := newTreeMirror(t)
			mirror.publish(tree{"/demo": {fmt.Appendf(nil, `{"name":"demo","versions":{"1.0.0":{"dist":{"tarball":"%s/deep/demo-1.0.0.tgz"}}}}`, second.URL), time.Now()}})
			redirect := ""
			if c.redirect != "" {
				redirect = fmt.Sprintf(", allowed-redirect: '%s'", c.redirect)
			}
			cfg, _ := must(t, fmt.Sprintf("%shubs:\n- {name: npm, type: npm, upstream: [{server: '%s'%s}], %s}\n", c.public, mirror.URL, redirect, c.options))
			cfg.Storage.Local.Path = t.TempDir()
			get := func(s *Server, path string) (int, string) {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest("GET", "/npm"+path, nil))
				return w.Code, w.Body.String()
			}
			start := func() *Server {
				s, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				return s
			}
			alias := fmt.Sprintf("%x", sha256.Sum256([]byte(second.URL+"/")))[:10]
			s := start()
			code, _ := get(s, "/_f/"+alias+"/deep/demo-1.0.0.tgz")
			assert.Equal(t, 404, code, "before an index has linked there")
			code, index := get(s, "/demo")
			require.Equal(t, 200, code)
			if c.linked {
				assert.Contains(t, index, "/npm/_f/"+alias+"/deep/demo-1.0.0.tgz")
			} else {
				assert.Contains(t, index, second.URL)
			}
			code, body := get(s, "/_f/"+alias+"/deep/demo-1.0.0.tgz")
			assert.Equal(t, c.code, code)
			if c.code != 200 {
				assert.Zero(t, asked)
				require.NoError(t, s.Close())
				return
			}
			assert.Equal(t, "content of /deep/demo-1.0.0.tgz", body)
			require.NoError(t, s.Reload(cfg))
			code, _ = get(s, "/_f/"+alias+"/deep/other-1.0.0.tgz")
			assert.Equal(t, 200, code, "after a reload")
			require.NoError(t, s.Close())

			s = start()
			code, body = get(s, "/_f/"+alias+"/deep/demo-2.0.0.tgz")
			assert.Equal(t, 200, code, "after a restart, by a lock file")
			assert.Equal(t, "content of /deep/demo-2.0.0.tgz", body)
			code, _ = get(s, "/_f/0123456789/deep/demo-2.0.0.tgz")
			assert.Equal(t, 404, code)
			require.NoError(t, s.Close())
		})
	}
}

// TestFilesAdded: a second host that the configuration names from now on is where
// the links of an index that is stored already lead.
func TestFilesAdded(t *testing.T) {
	mirror := newTreeMirror(t)
	mirror.publish(tree{"/demo": {[]byte(`{"name":"demo","dist":{"tarball":"https://cdn.example.org/demo-1.0.0.tgz"}}`), time.Now()}})
	text := "hubs:\n- {name: npm, type: npm, upstream: [{server: '" + mirror.URL + "'}]%s}\n"
	before, _ := must(t, fmt.Sprintf(text, ""))
	before.Storage.Local.Path = t.TempDir()
	after, _ := must(t, fmt.Sprintf(text, ", options: {files: {cdn: 'https://cdn.example.org'}}"))
	after.Storage.Local.Path = before.Storage.Local.Path
	s, err := New(before, Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer s.Close()
	get := func() string {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/npm/demo", nil))
		return w.Body.String()
	}
	for range 20 { // the first of them while it is being stored
		assert.Contains(t, get(), "https://cdn.example.org/demo-1.0.0.tgz")
	}
	require.NoError(t, s.Reload(after))
	assert.Contains(t, get(), "/npm/_f/cdn/demo-1.0.0.tgz")
}
