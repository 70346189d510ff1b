package cacheproxy

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var update = flag.Bool("update", false, "write the golden files anew")

// serverOf is a server of configuration text, with its storage in a directory of the test.
func serverOf(t *testing.T, text string, log io.Writer) *Server {
	t.Helper()
	c, _ := must(t, text)
	c.Storage.Local.Path = t.TempDir()
	s, err := New(c, Options{Log: slog.New(slog.NewJSONHandler(log, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// ask is one request to s; fields are names and values in turn.
func ask(s *Server, method, target string, fields ...string) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest(method, target, nil), httptest.NewRecorder()
	for i := 0; i < len(fields); i += 2 {
		if r.Header.Set(fields[i], fields[i+1]); fields[i] == "Host" {
			r.Host = fields[i+1]
		}
	}
	s.ServeHTTP(w, r)
	return w
}

// TestModules: A018, A019, A020.
func TestModules(t *testing.T) {
	only := map[HubType]module{HubFiles: hubs[HubFiles]}
	all := hubs
	hubs = only
	t.Cleanup(func() { hubs = all })
	s := serverOf(t, `
listen: [unix:/run/x, ':8881']
upstream: [{`+server+`}]
cache: {timeout: 90s}
hubs:
- {name: npm, hosts: [npm.example.org, n], upstream: [{`+server+`}]}
- {name: tools, rollout: dual, cache: {validation: never}, upstream: [{`+server+`}]}
`, io.Discard)
	s.revision().begun = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	golden := filepath.Join("testdata", "golden", "modules.json")
	got := ask(s, "GET", "/-/modules", "Host", "npm.example.org")
	assert.Equal(t, 200, got.Code)
	assert.Equal(t, "application/json", got.Header().Get("Content-Type"))
	if *update {
		require.NoError(t, os.WriteFile(golden, got.Body.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got.Body.String())

	one := ask(s, "GET", "/-/modules/files")
	assert.Equal(t, 200, one.Code)
	var record moduleRecord
	require.NoError(t, json.Unmarshal(one.Body.Bytes(), &record))
	assert.Equal(t, s.revision().diagnostics().Modules[0], record)

	none := ask(s, "GET", "/-/modules/none")
	assert.Equal(t, 404, none.Code)
	assert.JSONEq(t, `{"error":"module_not_found"}`, none.Body.String())
	assert.Empty(t, ask(s, "HEAD", "/-/modules").Body.String())
	assert.Equal(t, 405, ask(s, "DELETE", "/-/modules").Code)
}

// TestReadyz: a store that cannot be written is said so (G054).
func TestReadyz(t *testing.T) {
	s := serverOf(t, "", io.Discard)
	assert.Equal(t, 200, ask(s, "GET", "/-/readyz").Code)
	temp := filepath.Join(s.revision().config.Storage.Local.Path, ".temp")
	require.NoError(t, os.RemoveAll(temp))
	require.NoError(t, os.WriteFile(temp, nil, 0o600))
	assert.Equal(t, 200, ask(s, "GET", "/-/readyz").Code, "what was found holds for a while")
	s.ready.last.begun = s.ready.last.begun.Add(-probeHolds)
	w := ask(s, "GET", "/-/readyz")
	assert.Equal(t, 503, w.Code)
	assert.NotContains(t, w.Body.String(), s.revision().config.Storage.Local.Path)
	assert.Equal(t, 200, ask(s, "GET", "/-/healthz").Code)
	require.NoError(t, os.Remove(temp))
	s.ready.last.begun = s.ready.last.begun.Add(-probeHolds)
	assert.Equal(t, 200, ask(s, "GET", "/-/readyz").Code, "and it heals")
}

// TestAccessLog: A024, A016, G043.
func TestAccessLog(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/x" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "content")
	}))
	defer origin.Close()
	var log strings.Builder
	s := serverOf(t, "hubs: [{name: tools, hosts: [t.example.org], upstream: [{server: '"+origin.URL+"'}]}]", &log)
	finished := func(target string, fields ...string) map[string]any {
		t.Helper()
		log.Reset()
		ask(s, "GET", target, fields...)
		for line := range strings.Lines(log.String()) {
			var m map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			if m["msg"] == "request finished" {
				return m
			}
		}
		t.Fatal("no line: " + log.String())
		return nil
	}
	for i, hit := range []bool{false, true} {
		if hit { // a request may still share the transfer that just ended
			require.Eventually(t, func() bool { return finished("/tools/x?token=hunter2")["cache_hit"] == true }, 5*time.Second, time.Millisecond)
		}
		line := finished("/tools/x?token=hunter2", "X-Request-ID", fmt.Sprint("id-", i))
		assert.Equal(t, "proxy", line["action"])
		assert.Equal(t, "tools", line["hub"])
		assert.Equal(t, "files", line["module_key"])
		assert.Equal(t, "legacy-only", line["rollout_flag"])
		assert.Equal(t, hit, line["cache_hit"])
		assert.Equal(t, map[bool]float64{false: 200, true: 0}[hit], line["upstream_status"])
		assert.Equal(t, fmt.Sprint("id-", i), line["request_id"])
		assert.Equal(t, "/tools/x", line["path"], "as the client spelt it")
		assert.NotContains(t, log.String(), "hunter2")
	}
	line := finished("/tools/none")
	assert.Equal(t, 404.0, line["upstream_status"])
	assert.Equal(t, false, line["cache_hit"])
	line = finished("/x", "Host", "other.example.org")
	assert.Equal(t, "host_unmapped", line["error"])
	assert.NotContains(t, line, "hub")
}

// TestRegistries: which hub a request to /v2/ means (PROTOCOLS, section 10).
func TestRegistries(t *testing.T) {
	var r routes
	add := func(name string, o HubOptions, servers ...string) {
		h := &Hub{Name: name, Type: HubOCI, Path: "/" + name, Rollout: RolloutModular, Options: o}
		for _, server := range servers {
			server, match, mapped := strings.Cut(server, " ")
			u, err := url.Parse(server)
			require.NoError(t, err)
			h.Upstream = append(h.Upstream, Upstream{Server: URL{u}})
			if mapped {
				h.Upstream[len(h.Upstream)-1].Path.Match.Regexp = regexp.MustCompile(match)
			}
		}
		r.add(&target{mounted: &mounted{config: h}})
	}
	add("one", HubOptions{NS: []string{"one.example.org"}}, "https://Real.example.org/", "https://shared.example.org", "https://mirror.example.org/one")
	add("two", HubOptions{NS: []string{"two.example.org:5000", "also.example.org"}}, "http://plain.example.org:5000", "https://shared.example.org:443", "https://one.example.org", "https://mapped.example.org ^/v2/x/(.*)")
	check := func(t *testing.T, asked, name, seen string) {
		t.Helper()
		to, _, u := r.find(httptest.NewRequest("GET", asked, nil))
		if name == "" {
			assert.Nil(t, to, asked)
			return
		}
		require.NotNil(t, to, asked)
		assert.Equal(t, name, to.mounted.config.Name, asked)
		assert.Equal(t, seen, u.RequestURI(), asked)
	}
	for _, c := range []struct{ name, asked, hub, seen string }{
		{"ping", "/v2/", "one", "/v2/"},
		{"by registry", "/v2/library/x/manifests/1?ns=two.example.org:5000", "two", "/v2/library/x/manifests/1"},
		{"in any case", "/v2/library/x/tags/list?n=5&ns=ALSO.example.org", "two", "/v2/library/x/tags/list?n=5"},
		{"by name", "/v2/two/team/app/manifests/1", "two", "/v2/team/app/manifests/1"},
		{"by both", "/v2/two/team/app/manifests/1?ns=also.example.org", "two", "/v2/team/app/manifests/1"},
		{"by mount", "/two/v2/team/app/manifests/1", "two", "/v2/team/app/manifests/1"},
		{"registry before name", "/v2/one/app/manifests/1?ns=also.example.org", "two", "/v2/one/app/manifests/1"},
		{"by its upstream", "/v2/library/x/manifests/1?ns=real.example.org", "one", "/v2/library/x/manifests/1"},
		{"by its upstream, with the port", "/v2/library/x/manifests/1?ns=real.example.org:443", "one", "/v2/library/x/manifests/1"},
		{"by its upstream's port", "/v2/library/x/manifests/1?ns=plain.example.org:5000", "two", "/v2/library/x/manifests/1"},
		{"options before upstreams", "/v2/library/x/manifests/1?ns=one.example.org", "one", "/v2/library/x/manifests/1"},
		{"an upstream of both", "/v2/library/x/manifests/1?ns=shared.example.org", "", ""},
		{"an upstream below a path", "/v2/library/x/manifests/1?ns=mirror.example.org", "", ""},
		{"an upstream with paths mapped", "/v2/library/x/manifests/1?ns=mapped.example.org", "", ""},
		{"an upstream without its port", "/v2/library/x/manifests/1?ns=plain.example.org", "", ""},
		{"neither a hub nor a default", "/v2/library/x/manifests/1", "", ""},
		{"unknown registry", "/v2/library/x/manifests/1?ns=x.example.org", "", ""},
		{"no image", "/v2/_catalog?n=1", "one", "/v2/_catalog?n=1"},
		{"another version", "/v22/one/x", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, c.asked, c.hub, c.seen) })
	}
	add("three", HubOptions{Default: true})
	check(t, "/v2/", "three", "/v2/")
	check(t, "/v2/library/x/manifests/1", "three", "/v2/library/x/manifests/1")
	check(t, "/v2/library/x/manifests/1?ns=example.com", "three", "/v2/library/x/manifests/1") // the Host of the request itself
	check(t, "/v2/library/x/manifests/1?ns=x.example.org", "", "")
}

// TestForeignRegistry: one that no hub has is refused in words that its client
// prints, and nothing is asked for it.
func TestForeignRegistry(t *testing.T) {
	asked := 0
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++ }))
	defer origin.Close()
	var log strings.Builder
	s := serverOf(t, "hubs: [{name: hub, type: oci, upstream: [{server: '"+origin.URL+"'}]}]", &log)
	for _, c := range []struct{ name, target, says string }{
		{"by name", "/v2/library/x/manifests/1", "none is the default registry"},
		{"by registry", "/v2/library/x/manifests/1?ns=" + "x.example.org", `no hub of this proxy is the registry \"x.example.org\"`},
		{"by nonsense", "/v2/library/x/manifests/1?ns=%0d%0a%22%3cb%3e" + strings.Repeat("x", 4000), "no hub of this proxy is the registry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(s, "GET", c.target)
			assert.Equal(t, 404, w.Code)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			assert.Less(t, w.Body.Len(), 2000)
			var refused struct {
				Errors []struct{ Code, Message string }
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &refused))
			require.Len(t, refused.Errors, 1)
			assert.Equal(t, "NAME_UNKNOWN", refused.Errors[0].Code)
			assert.Contains(t, w.Body.String(), c.says)
		})
	}
	assert.Equal(t, 405, ask(s, "POST", "/v2/library/x/blobs/uploads/").Code)
	assert.Contains(t, log.String(), `"error":"registry_unmapped"`)
	assert.Zero(t, asked)
}

// A moody hub fails as it is asked to.
type moody struct{ hub.Hub }

func (m moody) Parse(r *http.Request) (*exchange.Request, error) {
	switch r.URL.Path {
	case "/bug":
		return nil, errors.New("bug")
	case "/panic":
		panic("a fault of the module")
	case "/unknown":
		return nil, fmt.Errorf("path: %w", fs.ErrNotExist)
	case "/refused":
		return nil, &exchange.Error{Status: 400, Message: "refused"}
	}
	return m.Hub.Parse(r)
}

func (m moody) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err != nil || req.Key.Path == "/good" {
			return resp, err
		}
		resp.Body.Close()
		if req.Key.Path == "/hidden" {
			return nil, &exchange.Error{Status: 404, Message: "hidden"}
		}
		return nil, &exchange.Error{Status: 502, Message: "the index cannot be read"}
	})
}

// TestRollback: what runs where, and what falls back (A010 - A012).
func TestRollback(t *testing.T) {
	hubs["moody"] = module{new: func(o hub.Options, c *HubOptions) (hub.Hub, error) {
		plain, err := newFiles(o, c)
		return moody{plain}, err
	}}
	t.Cleanup(func() { delete(hubs, "moody") })
	var failed atomic.Int32
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/down") {
			failed.Add(1)
			w.WriteHeader(500)
			return
		}
		io.WriteString(w, "content")
	}))
	defer origin.Close()
	var text strings.Builder
	text.WriteString("hubs:\n")
	for _, rollout := range []string{"modular", "dual", "legacy-only"} {
		fmt.Fprintf(&text, "- {name: %s, type: moody, rollout: %[1]s, upstream: [{server: '%s'}]}\n", rollout, origin.URL)
	}
	s := serverOf(t, text.String(), io.Discard)
	for _, c := range []struct {
		path                  string
		modular, dual, legacy int
	}{
		{"/good", 200, 200, 200},
		{"/index", 502, 200, 200},
		{"/bug", 502, 200, 200},
		{"/unknown", 404, 404, 200},
		{"/refused", 400, 400, 200},
		{"/hidden", 404, 404, 200},
		{"/down", 502, 502, 502},
	} {
		for rollout, want := range map[string]int{"modular": c.modular, "dual": c.dual, "legacy-only": c.legacy} {
			w := ask(s, "GET", "/"+rollout+c.path)
			assert.Equal(t, want, w.Code, rollout+c.path)
			if want == 200 {
				assert.Equal(t, "content", w.Body.String())
			}
		}
	}
	failed.Store(0)
	ask(s, "GET", "/modular/down/modular")
	once := failed.Swap(0)
	ask(s, "GET", "/dual/down/dual")
	assert.Equal(t, once, failed.Load(), "where there is no content, none is asked for again")
	assert.Equal(t, HubFiles, s.revision().diagnostics().Hubs[2].ModuleKey)
	assert.Equal(t, RolloutLegacyOnly, s.revision().diagnostics().Hubs[2].RolloutFlag)
	assert.Equal(t, HubType("moody"), s.revision().diagnostics().Hubs[1].ModuleKey)
	assert.Equal(t, RolloutDual, s.revision().diagnostics().Hubs[1].RolloutFlag)
}

// TestModulePanics: A009. One request fails, with a line that says whose it was.
func TestModulePanics(t *testing.T) {
	hubs["moody"] = module{new: func(o hub.Options, c *HubOptions) (hub.Hub, error) {
		plain, err := newFiles(o, c)
		return moody{plain}, err
	}}
	t.Cleanup(func() { delete(hubs, "moody") })
	var log strings.Builder
	s := serverOf(t, "hubs: [{name: one, type: moody, upstream: [{"+server+"}]}]", &log)
	w := ask(s, "GET", "/one/panic", "X-Request-ID", "id-1")
	assert.Equal(t, 500, w.Code)
	assert.NotEmpty(t, w.Body.String())
	assert.NotContains(t, w.Body.String(), "fault", "what it was is for the log")
	var said, whose bool
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		switch m["msg"] {
		case "panic":
			said = true
			assert.Equal(t, "a fault of the module", m["panic"])
			assert.Contains(t, m["stack"], "moody.Parse")
		case "request finished":
			whose = true
			assert.Equal(t, "module_handler_panic", m["error"])
			assert.Equal(t, "one", m["hub"])
			assert.Equal(t, "moody", m["module_key"])
			assert.Equal(t, "id-1", m["request_id"])
		}
	}
	assert.True(t, said && whose, log.String())
	assert.Equal(t, 400, ask(s, "GET", "/one/refused").Code, "the next request is served")
}
