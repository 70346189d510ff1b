package cacheproxy_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// A collector keeps what it is sent: OTLP's protobuf, in which text and identifiers
// stand as they are.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	sent bytes.Buffer // guarded by mu
	last http.Header  // guarded by mu
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = io.Copy(&c.sent, r.Body)
		c.last = r.Header
		if r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func TestTraces(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	id, err := hex.DecodeString(trace)
	require.NoError(t, err)
	for _, c := range []struct {
		name, options string
		flags         string // of traceparent; "": none is sent
		spans         bool
		propagated    bool
	}{
		{"as the request says", ", propagate: true", "01", true, true},
		{"not told to mirrors", "", "01", true, false},
		{"the request does not want it", ", propagate: true", "00", false, true},
		{"none of a hundred, but this one is asked for", ", percent: 0", "01", true, false},
		{"none of a hundred", ", percent: 0", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			collector := newCollector(t)
			dead, good := proxytest.NewOrigin(t), proxytest.NewOrigin(t)
			good.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("twelve bytes")})
			dead.Reply("GET", "*", proxytest.Reply{Status: 500})
			s := newServer(t, `
traces: {endpoint: '`+collector.URL+`/v1/traces', headers: {X-Key: secret}`+c.options+`}
race: {mode: ordered}
hubs: [{name: tree, upstream: [{server: '`+dead.URL()+`'}, {server: '`+good.URL()+`'}]}]`, t.TempDir(), nil)
			r := httptest.NewRequest("GET", "/tree/a", nil)
			if c.flags != "" {
				r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-"+c.flags)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			require.Equal(t, 200, w.Code)
			require.NoError(t, s.Close())

			told := good.Requests("/a")[0].Header.Get("Traceparent")
			assert.Equal(t, c.propagated, told != "", "told to the mirror: %s", told)
			if c.propagated {
				assert.Contains(t, told, trace)
			}
			collector.mu.Lock()
			defer collector.mu.Unlock()
			sent := collector.sent.Bytes()
			if !c.spans {
				assert.Empty(t, sent)
				return
			}
			assert.Equal(t, "secret", collector.last.Get("X-Key"))
			assert.GreaterOrEqual(t, bytes.Count(sent, id), 3, "the request's span and one of each candidate")
			for _, text := range []string{"candidate", "GET tree", dead.URL(), good.URL(), "service.version"} {
				assert.True(t, bytes.Contains(sent, []byte(text)), text)
			}
			assert.NotContains(t, string(sent), "secret")
		})
	}
}

// A race has a span for each candidate, and those that lost say why they ended.
func TestTracesOfARace(t *testing.T) {
	collector := newCollector(t)
	slow, good := proxytest.NewOrigin(t), proxytest.NewOrigin(t)
	good.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	slow.Silent()
	s := newServer(t, `
traces: {endpoint: '`+collector.URL+`/v1/traces'}
hubs: [{name: tree, upstream: [{server: '`+slow.URL()+`'}, {server: '`+good.URL()+`'}]}]`, t.TempDir(), nil)
	require.Equal(t, 200, asked(s, "/tree/a").Code)
	require.NoError(t, s.Close())
	collector.mu.Lock()
	defer collector.mu.Unlock()
	sent := collector.sent.String()
	assert.Contains(t, sent, slow.URL())
	assert.Contains(t, sent, "another mirror was faster")
}

// A collector that cannot be reached costs clients nothing.
func TestTracesToNobody(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	s := newServer(t, "traces: {endpoint: 'http://127.0.0.1:1/v1/traces'}\nhubs: [{name: tree, upstream: [{server: '"+origin.URL()+"'}]}]", t.TempDir(), nil)
	for range 3 {
		require.Equal(t, 200, asked(s, "/tree/a").Code)
	}
	landed(t, s)
	require.NoError(t, s.Close())
	assert.Contains(t, do(s, "GET", "/api/v1/errors", "").Body.String(), "spans are lost")
}
