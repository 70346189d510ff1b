package cacheproxy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const imageManifest = "application/vnd.oci.image.manifest.v1+json"

// A metered registry has accounts that may ask for so many manifests. A HEAD costs
// nothing.
type metered struct {
	*httptest.Server

	mu    sync.Mutex
	tag   string         // the manifest that the tag is; guarded by mu, like all below
	left  map[string]int // by account
	asked []string       // "ACCOUNT METHOD PATH"
}

const meteredLimit = 100

func newMetered(t *testing.T, tag string, left map[string]int) *metered {
	m := &metered{tag: tag, left: left}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func digestOf(manifest string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest)))
}

// manifestOf is one that differs by word.
func manifestOf(word string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, imageManifest, digestOf(word))
}

func (m *metered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	account, _, ok := r.BasicAuth()
	if !ok {
		w.Header().Set("Www-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m.asked = append(m.asked, account+" "+r.Method+" "+r.URL.Path)
	if r.Method == http.MethodGet {
		if m.left[account] == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		m.left[account]--
	}
	w.Header().Set("RateLimit-Limit", fmt.Sprint(meteredLimit, ";w=3600"))
	w.Header().Set("RateLimit-Remaining", fmt.Sprint(m.left[account], ";w=3600"))
	w.Header().Set("Content-Type", imageManifest)
	w.Header().Set("Docker-Content-Digest", digestOf(m.tag))
	w.Header().Set("Content-Length", fmt.Sprint(len(m.tag)))
	io.WriteString(w, m.tag)
}

// sets changes what the registry is.
func (m *metered) sets(tag string, left map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tag, m.left = tag, left
}

func (m *metered) questions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return asked
}

// at is what an asked path is of the image app.
const (
	latest = "/v2/app/manifests/latest"
	named  = "/v2/app/manifests/"
)

func quotaServer(t *testing.T, m *metered, accounts string, now func() time.Time) *Server {
	t.Helper()
	c, _ := must(t, fmt.Sprintf(`
hubs:
- name: h
  type: oci
  upstream: [{server: %s, username: a, password: x%s}]
`, m.URL, accounts))
	c.Storage.Local.Path = t.TempDir()
	s, err := New(c, Options{Log: slog.New(slog.DiscardHandler), Now: now})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func pull(s *Server, method, path string) *httptest.ResponseRecorder {
	return ask(s, method, "/h"+path, "Accept", imageManifest)
}

// TestQuotas: what a registry says of how much more it may be asked is shown to
// operators and to no client, and with little left a tag that has moved is answered
// as it was. What a digest names costs one request, whatever is asked about it first.
func TestQuotas(t *testing.T) {
	one, two := manifestOf("one"), manifestOf("two")
	m := newMetered(t, one, map[string]int{"a": 50})
	var later atomic.Int64 // minutes
	s := quotaServer(t, m, "", func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Minute) })
	for _, method := range []string{"HEAD", "GET", "HEAD"} {
		w := pull(s, method, named+digestOf(one))
		require.Equal(t, 200, w.Code, w.Body.String())
		assert.Empty(t, w.Header().Values("RateLimit-Remaining"), "it is the hub's, not the client's")
		settled(t, s)
	}
	assert.Equal(t, []string{"a GET " + named + digestOf(one)}, m.questions(), "no HEAD, and nothing twice")

	require.Equal(t, one, pull(s, "GET", latest).Body.String())
	assert.Equal(t, []string{"a HEAD " + latest}, m.questions(), "what the tag is was there")
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/v1/hubs", nil)
	r.Host = "127.0.0.1:8882"
	s.Admin().ServeHTTP(w, r)
	var hubs []struct {
		Name   string
		Quotas []struct {
			Mirror           string
			Limit, Remaining int64
			Window           int64 `json:"window_seconds"`
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &hubs), w.Body.String())
	require.Len(t, hubs, 1)
	require.Len(t, hubs[0].Quotas, 1)
	q := hubs[0].Quotas[0]
	assert.Equal(t, []any{m.URL, int64(meteredLimit), int64(49), int64(3600)}, []any{q.Mirror, q.Limit, q.Remaining, q.Window})
	w, r.URL.Path = httptest.NewRecorder(), "/metrics"
	s.Admin().ServeHTTP(w, r)
	assert.Contains(t, w.Body.String(), `cache_proxy_mirror_quota_remaining{hub="h",mirror="`+m.URL+`",origin=""} 49`)

	moment := func() { later.Add(10) } // in which what is known of tags becomes old
	moment()
	m.sets(two, map[string]int{"a": meteredLimit / 10})
	w = pull(s, "GET", latest)
	assert.Equal(t, one, w.Body.String())
	assert.Equal(t, "STALE", w.Header().Get("X-Cache"))
	assert.Equal(t, []string{"a HEAD " + latest}, m.questions(), "which costs nothing")
	moment()
	m.sets(two, map[string]int{"a": meteredLimit/10 + 1})
	assert.Equal(t, two, pull(s, "GET", latest).Body.String())
	assert.Equal(t, []string{"a HEAD " + latest, "a GET " + named + digestOf(two)}, m.questions())
	settled(t, s) // and is in its place
	moment()
	m.sets(one, map[string]int{"a": 0})
	assert.Equal(t, one, pull(s, "GET", latest).Body.String(), "what is stored already is no cost")
	assert.Equal(t, []string{"a HEAD " + latest}, slices.Compact(m.questions()), "and no GET")
}

// TestQuotaAccounts: several accounts are used in turn, and one that is refused for
// its quota is no client's trouble.
func TestQuotaAccounts(t *testing.T) {
	m := newMetered(t, "", map[string]int{"a": meteredLimit/10 + 2, "b": 50, "c": 50})
	s := quotaServer(t, m, ", accounts: [{username: b, password: y}, {username: c, password: z}]", nil)
	of := func(n int) string {
		t.Helper()
		manifest := manifestOf(fmt.Sprint(n))
		m.mu.Lock()
		m.tag = manifest
		m.mu.Unlock()
		w := pull(s, "GET", named+digestOf(manifest))
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, manifest, w.Body.String())
		var accounts []string
		for _, q := range m.questions() {
			accounts = append(accounts, q[:1])
		}
		return strings.Join(accounts, " ")
	}
	assert.Equal(t, "a", of(1))
	assert.Equal(t, "a", of(2), "a tenth is left after it")
	assert.Equal(t, "b", of(3), "the next one's turn")
	m.sets("", map[string]int{"a": 10, "b": 0, "c": 50})
	assert.Equal(t, "b c", of(4), "it is refused, and the next one is asked at once")
	assert.Equal(t, "c", of(5))
	m.sets("", map[string]int{"a": 10, "b": 0, "c": 1})
	assert.Equal(t, "c", of(6))
	assert.Equal(t, "a", of(7), "all are low, and this one has most left")
}
