package filter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func patterns(t testing.TB, texts ...string) (all []Pattern) {
	t.Helper()
	for _, text := range texts {
		var p Pattern
		require.NoError(t, p.UnmarshalText([]byte(text)))
		all = append(all, p)
	}
	return all
}

func TestAllowDeny(t *testing.T) {
	f := makeFilter(t, AllowDeny(), newClock(), func(o *allowDenyOptions) {
		o.Allow, o.Deny = patterns(t, "pkg:npm/left*", "right@2.*", "pkg:pypi/all"), patterns(t, "left-bad", "left-pad@1.3.*")
	})
	tests := []struct {
		name, pkg, version string
		denied             bool
	}{
		{"allowed", "left-pad", "1.2.0", false},
		{"a version denied", "left-pad", "1.3.0", true},
		{"a package denied", "left-bad", "1.0.0", true},
		{"its index too", "left-bad", "", true},
		{"a version allowed", "right", "2.1", false},
		{"another version", "right", "1.1", true},
		{"the index of some versions", "right", "", false},
		{"not allowed", "up", "1.0", true},
		{"nor its index", "up", "", true},
		{"of another type", "all", "1", true},
		{"of no package", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, x := handle(f, npm, request(tt.pkg, tt.version))
			assert.Equal(t, tt.denied, result == "denied")
			assert.Equal(t, map[bool]int{true: 403}[tt.denied], x.Status())
		})
	}
	// A file whose name tells no version may be of one that is denied.
	odd := request("left-pad", "1")
	odd.Version = ""
	result, _ := handle(f, npm, odd)
	assert.Equal(t, "denied", result)

	_, x := handle(f, npm, request("left-pad", ""))
	require.NotNil(t, x.Request.Sieve)
	assert.True(t, x.Request.Sieve.Shows("1.2.0", time.Time{}))
	assert.False(t, x.Request.Sieve.Shows("1.3.0", time.Time{}))
	_, x = handle(f, npm, request("left", ""))
	assert.Nil(t, x.Request.Sieve, "all is shown")
	assert.True(t, f.(Passive).Passive())

	f = makeFilter(t, AllowDeny(), newClock(), func(o *allowDenyOptions) { o.Deny, o.Message = patterns(t, "x"), "no" })
	_, x = handle(f, npm, request("x", "1"))
	assert.Equal(t, "no", asError(x.err).Message)

	f = makeFilter(t, AllowDeny(), newClock(), func(o *allowDenyOptions) { o.Deny, o.Status = patterns(t, "x"), 404 })
	_, x = handle(f, npm, request("x", "1"))
	assert.Equal(t, 404, x.Status())
}

func TestCooldown(t *testing.T) {
	c := newClock()
	published := map[string]time.Time{
		"1.0.0": c.Now().Add(-30 * 24 * time.Hour), "2.0.0": c.Now().Add(-time.Hour), "3.0.0": c.Now().Add(-time.Hour),
	}
	asked := 0
	hub := &Hub{Name: "h", Type: "npm", Published: func(_ context.Context, r *exchange.Request) (time.Time, error) {
		if asked++; r.Version == "lost" {
			return time.Time{}, errors.New("no mirror")
		}
		return published[r.Version], nil
	}}
	f := makeFilter(t, Cooldown(), c, func(o *cooldownOptions) {
		o.MinAge = 7 * 24 * time.Hour
		o.Exceptions = []exception{{Package: patterns(t, "x@3.*")[0], Reason: "mends a hole", Until: c.Now().Add(24 * time.Hour)}}
	})
	say := func(f Filter, name, version string) string {
		result, _ := handle(f, hub, request(name, version))
		return result
	}
	assert.Empty(t, say(f, "x", "1.0.0"))
	assert.Empty(t, say(f, "x", "1.0.0"))
	assert.Equal(t, 1, asked, "a date is remembered")
	assert.Equal(t, "tooYoung", say(f, "x", "2.0.0"))
	assert.Empty(t, say(f, "x", "3.0.0"), "an exception")
	assert.Equal(t, "tooYoung", say(f, "x", "4.0.0"), "of unknown age")
	assert.Equal(t, "failed", say(f, "x", "lost"))
	_, x := handle(f, hub, request("x", "2.0.0"))
	assert.Equal(t, "x@2.0.0 was published at 2026-05-01T11:00:00Z, and is served from 2026-05-08T11:00:00Z", asError(x.err).Message)

	_, x = handle(f, hub, request("x", ""))
	s := x.Request.Sieve
	require.NotNil(t, s)
	assert.True(t, s.Dates)
	for version, want := range map[string]bool{"1.0.0": true, "2.0.0": false, "3.0.0": true, "4.0.0": false} {
		assert.Equal(t, want, s.Shows(version, published[version]), version)
	}
	c.advance(time.Minute)
	_, x = handle(f, hub, request("x", ""))
	assert.Equal(t, s.Rules, x.Request.Sieve.Rules, "what was made is good for a while")
	c.advance(time.Hour)
	_, x = handle(f, hub, request("x", ""))
	assert.NotEqual(t, s.Rules, x.Request.Sieve.Rules)
	assert.False(t, f.(Passive).Passive(), "an exception ends")

	c.advance(24 * time.Hour)
	assert.Equal(t, "tooYoung", say(f, "x", "3.0.0"), "the exception is over")
	c.advance(6 * 24 * time.Hour)
	assert.Empty(t, say(f, "x", "2.0.0"), "it has become old enough")

	assert.Empty(t, say(f, "", ""), "of no package")
	result, _ := handle(f, &Hub{Name: "apt", Type: "apt"}, request("x", "9"))
	assert.Empty(t, result, "a hub that knows no dates")

	f = makeFilter(t, Cooldown(), c, func(o *cooldownOptions) {
		o.MinAge, o.Undated, o.Packages = 7*24*time.Hour, true, patterns(t, "x")
	})
	assert.Empty(t, say(f, "x", "4.0.0"))
	published["5"] = c.Now()
	assert.Equal(t, "tooYoung", say(f, "x", "5"))
	assert.Empty(t, say(f, "y", "5"), "it is about x alone")
	assert.True(t, f.(Passive).Passive())
}

func TestSift(t *testing.T) {
	x := &Exchange{Request: request("x", "")}
	only := func(rules, hidden string) *exchange.Sieve {
		return &exchange.Sieve{Rules: rules, Shows: func(v string, _ time.Time) bool { return v != hidden }}
	}
	first := x.Request
	x.Sift(only("a", "1"))
	x.Sift(&exchange.Sieve{Rules: "b", Dates: true, Shows: only("b", "2").Shows})
	assert.Nil(t, first.Sieve)
	s := x.Request.Sieve
	assert.Equal(t, "a\nb", s.Rules)
	assert.True(t, s.Dates)
	assert.Equal(t, []bool{false, false, true}, []bool{s.Shows("1", time.Time{}), s.Shows("2", time.Time{}), s.Shows("3", time.Time{})})
}

// G032: 200, 403, anything else, and nobody there; once for all who ask.
func TestWebhook(t *testing.T) {
	c := newClock()
	var asked atomic.Int64
	var last atomic.Value
	release := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if strings.Contains(string(text), "@late\"") {
			<-release // who asks is gone, maybe before this has come: it is not counted
			return
		}
		asked.Add(1)
		last.Store(r.Method + " " + r.Header.Get("Authorization") + " " + string(text))
		var q struct{ Module string }
		json.Unmarshal(text, &q)
		switch q.Module {
		case "bad":
			http.Error(w, "has a\thole", http.StatusForbidden)
		case "odd":
			w.WriteHeader(http.StatusTeapot)
		case "moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "slow":
			<-release
		}
	}))
	defer service.Close()
	u, err := url.Parse(service.URL)
	require.NoError(t, err)
	stored := false
	hub := &Hub{Name: "h", Type: "npm", Stored: func(context.Context, exchange.Key) bool { return stored }}
	hook := func(set func(*webhookOptions)) Filter {
		return makeFilter(t, Webhook(), c, func(o *webhookOptions) {
			o.URL, o.Token = u, "secret"
			set(o)
		})
	}
	say := func(f Filter, name, version string) (string, int) {
		result, x := handle(f, hub, request(name, version))
		return result, x.Status()
	}
	f := hook(func(*webhookOptions) {})
	result, _ := say(f, "good", "1")
	assert.Empty(t, result)
	assert.Equal(t, `POST Bearer secret {"Hub":"h","Module":"good","Purl":"pkg:npm/good@1","Type":"npm","Version":"1"}`, last.Load())
	result, _ = say(f, "good", "1")
	assert.Empty(t, result)
	assert.EqualValues(t, 1, asked.Load(), "its word holds")
	c.advance(time.Hour)
	say(f, "good", "1")
	assert.EqualValues(t, 2, asked.Load(), "for a while")

	_, x := handle(f, hub, request("bad", "1"))
	assert.Equal(t, "bad@1 may not be downloaded: has a hole", asError(x.err).Message)
	assert.Equal(t, 403, x.Status())
	for _, name := range []string{"odd", "moved"} {
		result, status := say(f, name, "1")
		assert.Equal(t, "failed", result, name)
		assert.Equal(t, 500, status, name)
	}
	result, _ = say(hook(func(o *webhookOptions) { o.Open = true }), "odd", "1")
	assert.Empty(t, result, "it fails open")
	result, _ = say(hook(func(o *webhookOptions) { o.Timeout = time.Millisecond }), "slow", "late")
	assert.Equal(t, "failed", result)

	before := asked.Load()
	result, _ = say(f, "bad", "")
	assert.Empty(t, result, "indexes are not asked about")
	stored = true
	result, _ = say(f, "bad", "2")
	assert.Empty(t, result, "nor what is stored")
	assert.Equal(t, before, asked.Load())
	result, _ = say(hook(func(o *webhookOptions) { o.Stored = true }), "bad", "2")
	assert.Equal(t, "denied", result)
	stored = false

	f, before = hook(func(o *webhookOptions) { o.Remember = 0 }), asked.Load()
	say(f, "good", "1")
	say(f, "good", "1")
	assert.EqualValues(t, 2, asked.Load()-before, "its word holds for nothing")

	f, before = hook(func(*webhookOptions) {}), asked.Load()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { assert.Empty(t, firstOf(say(f, "slow", "1"))) })
	}
	require.Eventually(t, func() bool { return asked.Load() > before }, 5*time.Second, time.Millisecond)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	x = &Exchange{Hub: hub, Request: request("slow", "1")}
	assert.Equal(t, "failed", f.Handle(gone, x), "who leaves does not wait")
	close(release)
	all.Wait()
	assert.EqualValues(t, 1, asked.Load()-before)
}

func firstOf(s string, _ int) string { return s }

// However many versions are asked for by clients that do not wait, so many questions
// are on their way and no more.
func TestWebhookQuestionsAreBounded(t *testing.T) {
	var asked atomic.Int64
	release := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-release
	}))
	defer service.Close()
	u, err := url.Parse(service.URL)
	require.NoError(t, err)
	f := makeFilter(t, Webhook(), newClock(), func(o *webhookOptions) { o.URL, o.Timeout = u, time.Minute }).(*webhook)
	hub := &Hub{Name: "h", Type: "npm"}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 10 * maxQuestions {
		x := &Exchange{Hub: hub, Request: request("a", fmt.Sprint(i))}
		f.Handle(gone, x)
	}
	f.mu.Lock()
	assert.LessOrEqual(t, len(f.asking), maxQuestions)
	f.mu.Unlock()
	var last sync.WaitGroup
	last.Go(func() {
		result, _ := handle(f, hub, request("b", "1"))
		assert.Empty(t, result, "it has its turn")
	})
	close(release)
	last.Wait()
	require.Eventually(t, func() bool { return len(f.turns) == 0 }, 5*time.Second, time.Millisecond)
	assert.LessOrEqual(t, asked.Load(), int64(maxQuestions+1))
}

// G030: a line for each, of hits, misses and refusals, with the bytes that went out.
func TestAudit(t *testing.T) {
	c, file := newClock(), filepath.Join(t.TempDir(), "audit")
	set := func(all bool) func(*auditOptions) { return func(o *auditOptions) { o.File, o.All = file, all } }
	k := Audit()
	audit := makeFilter(t, k, c, set(true))
	lines := func() (all []map[string]any) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			m := map[string]any{}
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			all = append(all, m)
		}
		return all
	}
	named := map[string]*Named{"audit": NewNamed("Audit", "audit", k, audit)}
	kinds := map[string]Kind{"audit": k}
	var hears int64
	src := NewFlow([]Step{{Filter: "audit"}}, named, kinds).Wrap(npm, exchange.SourceFunc(func(_ context.Context, r *exchange.Request) (*exchange.Response, error) {
		if r.Package == "refused" {
			return nil, &exchange.Error{Status: 451}
		}
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Mirror: "http://m"}, Body: http.NoBody, Outcome: exchange.Outcome{Hit: true},
			Sent: func(n int64, _ error) { hears = n },
		}, nil
	}))
	resp, err := src.Get(t.Context(), request("left-pad", "1.0.0"))
	require.NoError(t, err)
	c.advance(1500 * time.Microsecond)
	resp.Sent(42, nil)
	assert.EqualValues(t, 42, hears, "others hear it too")
	src.Get(t.Context(), request("refused", "1"))
	resp, _ = src.Get(t.Context(), request("left-pad", ""))
	resp.Sent(7, errors.New("gone"))
	got := lines()
	require.Len(t, got, 3)
	assert.Equal(t, map[string]any{
		"time": "2026-05-01T12:00:00Z", "hub": "h", "client": "192.0.2.1", "method": "GET", "path": "/left-pad/1.0.0", "package": "left-pad",
		"version": "1.0.0", "status": 200., "bytes": 42., "cache": "HIT", "mirror": "http://m", "ms": 1.5,
	}, got[0])
	assert.Equal(t, 451., got[1]["status"])
	assert.Equal(t, true, got[2]["cut"])
	assert.Equal(t, map[string]int64{"lines": 3, "lost": 0}, audit.Status())

	require.NoError(t, os.Rename(file, file+".1"))
	c.advance(time.Second)
	src.Get(t.Context(), request("refused", "1"))
	assert.Len(t, lines(), 1, "a file that was moved away is made anew")

	some := makeFilter(t, k, c, set(false))
	for _, version := range []string{"", "1"} {
		x := &Exchange{Hub: npm, Request: request("a", version)}
		some.Handle(t.Context(), x)
		assert.Len(t, x.after, len(version))
	}
	_, err = k.New(&auditOptions{File: filepath.Join(file, "none")}, Env{Now: c.Now})
	assert.Error(t, err)
}

// Where no file can be made in the place of one that went, that is said once.
func TestAuditWithoutItsFolder(t *testing.T) {
	c, dir, said := newClock(), filepath.Join(t.TempDir(), "log"), &bytes.Buffer{}
	require.NoError(t, os.Mkdir(dir, 0o700))
	f, err := Audit().New(&auditOptions{File: filepath.Join(dir, "audit"), All: true}, Env{Log: slog.New(slog.NewTextHandler(said, nil)), Now: c.Now})
	require.NoError(t, err)
	defer f.(Closer).Close()
	line := func() {
		c.advance(time.Second)
		_, x := handle(f, npm, request("a", "1"))
		x.Refuse(&exchange.Error{Status: 403})
		x.after[0]()
	}
	require.NoError(t, os.RemoveAll(dir))
	line()
	line()
	assert.Equal(t, 1, strings.Count(said.String(), "a new one cannot be made"), said)
	require.NoError(t, os.Mkdir(dir, 0o700))
	line()
	require.NoError(t, os.RemoveAll(dir))
	line()
	assert.Equal(t, 2, strings.Count(said.String(), "a new one cannot be made"), said)
}

func TestCORS(t *testing.T) {
	f := makeFilter(t, CORS(), newClock(), func(o *corsOptions) {
		o.Origins, o.Headers, o.Expose = []string{"https://app.example.org", "https://*.example.net"}, []string{"X-Team"}, []string{"ETag"}
		o.MaxAge, o.Credentials = time.Hour, true
	})
	preflight := func(f Filter, fields ...string) (*httptest.ResponseRecorder, bool) {
		r, w := httptest.NewRequest(http.MethodOptions, "/x", nil), httptest.NewRecorder()
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		return w, f.(Preflighter).Preflight(w, r)
	}
	w, ok := preflight(f, "Origin", "https://a.example.net", "Access-Control-Request-Method", "GET")
	assert.True(t, ok)
	assert.Equal(t, 204, w.Code)
	assert.Equal(t, http.Header{
		"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"https://a.example.net"}, "Access-Control-Allow-Methods": {"GET, HEAD"},
		"Access-Control-Allow-Headers": {"X-Team"}, "Access-Control-Max-Age": {"3600"}, "Access-Control-Allow-Credentials": {"true"},
	}, w.Header())
	w, ok = preflight(f, "Origin", "https://decoy.example.org", "Access-Control-Request-Method", "GET")
	assert.True(t, ok)
	assert.Equal(t, 403, w.Code)
	assert.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
	_, ok = preflight(f, "Origin", "https://app.example.org")
	assert.False(t, ok, "an OPTIONS of another kind")

	k := CORS()
	src := NewFlow([]Step{{Filter: "c"}}, map[string]*Named{"c": NewNamed("CORS", "c", k, f)}, map[string]Kind{"c": k}).Wrap(npm,
		exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return &exchange.Response{Entry: &exchange.Entry{Status: 200}, Body: http.NoBody}, nil
		}))
	for origin, want := range map[string]string{
		"https://app.example.org": "https://app.example.org", "https://b.example.net": "https://b.example.net", "https://example.net": "",
		"https://decoy.org/.example.net": "", "https://x@.example.net": "", "http://app.example.org": "", "null": "", "": "",
	} {
		r := request("a", "1")
		if origin != "" {
			r.Client.Header.Set("Origin", origin)
		}
		resp, err := src.Get(t.Context(), r)
		require.NoError(t, err)
		assert.Equal(t, want, resp.Entry.Header.Get("Access-Control-Allow-Origin"), origin)
		assert.Equal(t, "Origin", resp.Entry.Header.Get("Vary"))
		assert.Equal(t, want != "", resp.Entry.Header.Get("Access-Control-Expose-Headers") == "ETag")
	}
	r := request("a", "1", "Origin", "https://decoy.example.org")
	result, _ := handle(f, npm, r)
	assert.Equal(t, "rejected", result)

	for _, origin := range []string{"https://*", "https://*example.org", "*://example.org", "https://*.", "https://a.*.org", "example.org", "https://x/y"} {
		wrong := 0
		(&corsOptions{Origins: []string{origin}}).Check(func(string, string, ...any) { wrong++ })
		assert.Equal(t, 1, wrong, origin)
	}

	all := makeFilter(t, CORS(), newClock(), func(o *corsOptions) { o.Origins = []string{"*"} })
	w, _ = preflight(all, "Origin", "https://x", "Access-Control-Request-Method", "GET")
	assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
}
