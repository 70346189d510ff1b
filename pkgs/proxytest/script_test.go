package proxytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// passThrough starts a proxy that forwards everything to the first upstream
// that its configuration names.
func passThrough(t *testing.T, env Env) (string, func()) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^- server: (\S+)`).FindStringSubmatch(env.Config)
	require.NotNil(t, m, "no upstream in %q", env.Config)
	upstream, err := url.Parse(m[1])
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	s := httptest.NewServer(proxy)
	return s.URL, func() {
		s.CloseClientConnections()
		s.Close()
	}
}

func TestRun(t *testing.T) { Run(t, "testdata", passThrough) }

func TestScriptErrors(t *testing.T) {
	const origin = "origin a GET /x 200 body=random:1000 etag=\"v1\"\n"
	tests := []struct {
		name, script, want string
	}{
		{"unknown command", "fetch /x", `s.txt:1: fetch /x`},
		{"unknown key", "origin a GET /x 200 colour=red", `unknown key`},
		{"few words", "hits a", `hits wants 3 words`},
		{"check first", "status 200", `no request before`},
		{"indented", "GET /x\n  y: 1", `s.txt:2: an indented line`},
		{"field", "GET /x [Range]", `want [Field: value]`},
		{"quote", `GET "/x`, `a quote without`},
		{"origin", "origin a down\nhits b /x 1", `no origin "b"`},
		{"status", origin + "GET /x\nstatus 404", `s.txt:3: status 404`},
		{"header", origin + "GET /x\nheader ETag is \"v2\"", `ETag is ["\"v1\""]`},
		{"header absent", origin + "GET /x\nheader ETag absent", `s.txt:3`},
		{"body", origin + "GET /x\nbody random:1000:1", `byte 0 differs`},
		{"body length", origin + "GET /x\nbody random:999", `got 1000 bytes, want 999`},
		{"fails", origin + "GET /x\nfails", `it ended well`},
		{"silent failure", "origin a GET /x 200 body=random:1000 cut=10\nGET /x\nstatus 200", `s.txt:2: GET /x
	the transfer failed after 10 bytes`},
		{"failure of an earlier request", "origin a GET /x 200 body=random:1000 cut=10\nGET /x\nGET /y", `s.txt:2: GET /x`},
		{"within", "origin a GET /x 200 delay=50ms\nGET /x\nwithin 1ms", `it took`},
		{"hits", origin + "GET /x\nhits a /x 2", `got 1`},
		{"sent", origin + "GET /x [A: b]\nsent a /x header A is c", `A is ["b"]`},
		{"stored", origin + "stored /x", `no such file`},
		{"parts", origin + "GET /x\nparts random:1000 0-1", `Content-Type is`},
		{"parallel", origin + "parallel 2 GET /x\nstatus 404", `client 1 of 2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			script := tt.script
			if !strings.Contains(script, "origin a") {
				script += "\norigin a up"
			}
			err := runScript(t, "s.txt", script, passThrough)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestParse(t *testing.T) {
	config, lines, err := parse("s.txt", "# why\nconfig\n  a: 1\n\n  b:\n    c: ' #x'\nGET /x # y\n\nstatus 200\n")
	require.NoError(t, err)
	assert.Equal(t, "a: 1\n\nb:\n  c: ' #x'", config)
	require.Len(t, lines, 2)
	assert.Equal(t, "s.txt:7", lines[0].at)
	assert.Equal(t, "GET /x", lines[0].text)
}

func FuzzParse(f *testing.F) {
	f.Add("config\n  a: 1\nGET /x [Range: bytes=0-1]\norigin a GET /x 200 etag=\"v\\\"1\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, lines, err := parse("s.txt", text)
		if err != nil {
			return
		}
		for _, l := range lines {
			if l.split(func(s string) string { return s }) == nil {
				assert.NotEmpty(t, l.words)
			}
		}
	})
}
