package filter

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// makeFilter is a filter of a kind with options that set changes.
func makeFilter[O any](t testing.TB, k Kind, c *clock, set func(*O)) Filter {
	t.Helper()
	options := k.Options().(*O)
	set(options)
	if checker, ok := any(options).(Checker); ok {
		checker.Check(func(path, format string, args ...any) { t.Fatalf("%s: "+format, append([]any{path}, args...)...) })
	}
	f, err := k.New(options, Env{Name: "f", Log: slog.New(slog.DiscardHandler), Now: c.Now})
	require.NoError(t, err)
	if closer, ok := f.(Closer); ok {
		t.Cleanup(func() { closer.Close() })
	}
	return f
}

// request is one for a version of a package, with fields in turn.
func request(name, version string, fields ...string) *exchange.Request {
	r := &exchange.Request{
		Key: exchange.Key{Hub: "h", Path: "/" + name + "/" + version}, Package: name, Version: version,
		Client: exchange.Client{Addr: netip.MustParseAddr("192.0.2.1"), Method: "GET", Header: http.Header{}},
		Policy: freshness.Policy{Class: freshness.Mutable},
	}
	if version != "" {
		r.Policy.Class = freshness.Immutable
	}
	for i := 0; i < len(fields); i += 2 {
		r.Client.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// handle is what a filter says of a request, and the status of its answer.
func handle(f Filter, hub *Hub, r *exchange.Request) (result string, x *Exchange) {
	x = &Exchange{Hub: hub, Request: r}
	return f.Handle(context.Background(), x), x
}

var npm = &Hub{Name: "h", Type: "npm"}

// word is a filter that says a word, and does something before.
type word struct {
	says string
	does func(*Exchange)
}

func (w word) Handle(_ context.Context, x *Exchange) string {
	if w.does != nil {
		w.does(x)
	}
	return w.says
}

func (word) Status() any { return nil }

// flowOf is a flow of filters by name that say "stop" or "goes".
func flowOf(t testing.TB, steps []Step, all map[string]Filter) *Flow {
	t.Helper()
	k := Kind{Results: []Result{{Name: "stop"}, {Name: "goes", Goes: true}}}
	named, kinds := map[string]*Named{}, map[string]Kind{}
	for name, f := range all {
		named[name], kinds[name] = NewNamed("word", name, k, f), k
	}
	CheckFlow(steps, kinds, func(path, format string, args ...any) { t.Fatalf(path+": "+format, args...) })
	return NewFlow(steps, named, kinds)
}

// body is content that knows whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func TestFlow(t *testing.T) {
	refuse := func(x *Exchange) { x.Refuse(&exchange.Error{Status: 418}) }
	answer := func(x *Exchange) {
		x.Answer(&exchange.Response{Entry: &exchange.Entry{Status: 299}, Body: http.NoBody})
	}
	tests := []struct {
		name   string
		steps  []Step
		origin int // status; 0: it fails
		want   int
		asked  int
	}{
		{"nothing said", []Step{{Filter: "quiet"}}, 200, 200, 1},
		{"a remark goes on", []Step{{Filter: "goes"}}, 200, 200, 1},
		{"a remark ends by a jump", []Step{{Filter: "goes", JumpIf: map[string]string{"goes": End}}}, 200, 403, 0},
		{"a refusal ends", []Step{{Filter: "refuses"}}, 200, 418, 0},
		{"a jump takes it back", []Step{{Filter: "refuses", JumpIf: map[string]string{"stop": "cache"}}, {Filter: "answers"}, {Filter: "cache"}}, 200, 200, 1},
		{"an answer ends", []Step{{Filter: "answers"}}, 200, 299, 0},
		{"over the cache, to no answer", []Step{{Filter: "goes", JumpIf: map[string]string{"goes": "quiet"}}, {Filter: "cache"}, {Filter: "quiet"}}, 200, 403, 0},
		{"by an alias", []Step{{Filter: "goes", JumpIf: map[string]string{"goes": "again"}}, {Filter: "refuses"}, {Filter: "goes", Alias: "again"}}, 200, 200, 1},
		{"the cache's refusal goes on", []Step{{Filter: "cache"}, {Filter: "answers"}}, 404, 299, 1},
		{"client error", []Step{{Filter: "cache", JumpIf: map[string]string{"clientError": End}}, {Filter: "answers"}}, 404, 404, 1},
		{"server error", []Step{{Filter: "cache", JumpIf: map[string]string{"serverError": End}}, {Filter: "answers"}}, 502, 502, 1},
		{"no client error", []Step{{Filter: "cache", JumpIf: map[string]string{"clientError": End, "internalError": End}}, {Filter: "answers"}}, 502, 299, 1},
		{"internal error", []Step{{Filter: "cache", JumpIf: map[string]string{"internalError": End}}, {Filter: "answers"}}, 0, 502, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := flowOf(t, tt.steps, map[string]Filter{"quiet": word{}, "goes": word{says: "goes"}, "refuses": word{"stop", refuse}, "answers": word{"stop", answer}})
			asked := 0
			content := &body{Reader: strings.NewReader("")}
			src := f.Wrap(npm, exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
				asked++
				if tt.origin == 0 {
					return nil, fmt.Errorf("no mirror")
				}
				return &exchange.Response{Entry: &exchange.Entry{Status: tt.origin}, Body: content}, nil
			}))
			resp, err := src.Get(t.Context(), request("a", "1"))
			got := 0
			if err == nil {
				got = resp.Entry.Status
			} else {
				got = asError(err).Status
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.asked, asked)
			if asked == 1 && tt.origin != 0 {
				assert.Equal(t, got != tt.origin, content.closed, "content that is not the answer is closed")
			}
		})
	}
}

func TestFlowOfNothing(t *testing.T) {
	assert.Nil(t, NewFlow(nil, nil, nil))
	assert.Nil(t, NewFlow([]Step{{Filter: CacheName}}, nil, nil))
	var none *Flow
	next := exchange.SourceFunc(nil)
	assert.Equal(t, fmt.Sprintf("%p", next), fmt.Sprintf("%p", none.Wrap(npm, next)), "nothing is wrapped")
	assert.False(t, none.Observes())
}

func TestAfter(t *testing.T) {
	var order []string
	note := func(name string) Filter {
		return word{does: func(x *Exchange) {
			x.After(func() {
				order = append(order, name)
				x.EditHeader(func(h http.Header) { h.Set("X-Last", name) })
			})
		}}
	}
	shared := http.Header{"A": {"b"}}
	f := flowOf(t, []Step{{Filter: "one"}, {Filter: "two"}}, map[string]Filter{"one": note("one"), "two": note("two")})
	resp, err := f.Wrap(npm, exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{Entry: &exchange.Entry{Status: 200, Header: shared}, Body: http.NoBody}, nil
	})).Get(t.Context(), request("a", "1"))
	require.NoError(t, err)
	assert.Equal(t, []string{"two", "one"}, order)
	assert.Equal(t, http.Header{"A": {"b"}, "X-Last": {"one"}}, resp.Entry.Header)
	assert.Equal(t, http.Header{"A": {"b"}}, shared, "entries are shared")

	_, err = f.Wrap(npm, exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return nil, fs.ErrNotExist
	})).Get(t.Context(), request("a", "1"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, "one", asError(err).Header.Get("X-Last"), "of errors too")
	assert.Equal(t, 404, asError(err).Status)
}

// A panic leaves no content open.
func TestFlowPanics(t *testing.T) {
	content := &body{Reader: strings.NewReader("")}
	f := flowOf(t, []Step{{Filter: "cache"}, {Filter: "bad"}}, map[string]Filter{"bad": word{does: func(*Exchange) { panic("bad") }}})
	assert.Panics(t, func() {
		f.Wrap(npm, exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
			return &exchange.Response{Entry: &exchange.Entry{Status: 200}, Body: content}, nil
		})).Get(t.Context(), request("a", "1"))
	})
	assert.True(t, content.closed)
}

// E013, E014, E016: exact under many, and kept by an heir.
func TestHeaderCounter(t *testing.T) {
	k, c := HeaderCounter(), newClock()
	set := func(names ...string) func(*headerCounterOptions) {
		return func(o *headerCounterOptions) { o.Headers = names }
	}
	old := NewNamed("HeaderCounter", "c", k, makeFilter(t, k, c, set("cookie", "Authorization")))
	kinds := map[string]Kind{"c": k}
	src := NewFlow([]Step{{Filter: "c"}}, map[string]*Named{"c": old}, kinds).Wrap(npm, exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return nil, fs.ErrNotExist
	}))
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			r := request("a", "1", "Cookie", "a=b")
			if i%10 == 0 {
				r = request("a", "1", "Authorization", "x")
			}
			if i%100 == 1 {
				r = request("a", "1")
			}
			src.Get(t.Context(), r)
		})
	}
	all.Wait()
	assert.Equal(t, map[string]int64{"Cookie": 890, "Authorization": 100}, old.Status())
	handled, results := old.Counts()
	assert.EqualValues(t, 1000, handled)
	assert.Equal(t, map[string]int64{"invalidHeader": 10}, results)

	heir := NewNamed("HeaderCounter", "c", k, makeFilter(t, k, c, set("X-New", "Cookie")))
	heir.Inherit(old)
	src.Get(t.Context(), request("a", "1", "Cookie", "late")) // still with the old one
	handle(heir.Filter, npm, request("a", "1", "Cookie", "a", "X-New", "b"))
	assert.Equal(t, map[string]int64{"Cookie": 892, "X-New": 1}, heir.Status())
	handled, _ = heir.Counts()
	assert.EqualValues(t, 1001, handled)
}

func TestRateLimiter(t *testing.T) {
	c := newClock()
	limit := func(set func(*rateLimiterOptions)) Filter { return makeFilter(t, RateLimiter(), c, set) }
	take := func(f Filter, n int, r *exchange.Request, hub *Hub, user string) (passed int) {
		for range n {
			if x := (&Exchange{Hub: hub, Request: r, User: user}); f.Handle(t.Context(), x) == "" {
				passed++
			}
		}
		return passed
	}
	from := func(addr string) *exchange.Request {
		r := request("a", "1")
		r.Client.Addr = netip.MustParseAddr(addr)
		return r
	}
	f := limit(func(o *rateLimiterOptions) { o.Requests, o.Per = 10, time.Second })
	assert.Equal(t, 10, take(f, 100, from("192.0.2.1"), npm, ""), "a burst is as many as requests")
	assert.Equal(t, 10, take(f, 100, from("192.0.2.2"), npm, ""), "another client")
	c.advance(300 * time.Millisecond)
	assert.Equal(t, 3, take(f, 100, from("192.0.2.1"), npm, ""))
	_, x := handle(f, npm, from("192.0.2.1"))
	assert.Equal(t, 429, x.Status())
	assert.Equal(t, 100*time.Millisecond, asError(x.err).RetryAfter)
	c.advance(time.Hour)
	assert.Equal(t, 10, take(f, 100, from("192.0.2.1"), npm, ""), "no more is saved")
	assert.Equal(t, 10, take(f, 100, from("2001:db8::1"), npm, ""))
	assert.Equal(t, 0, take(f, 100, from("2001:db8::2"), npm, ""), "a network is a client")
	assert.Equal(t, 10, take(f, 100, from("2001:db8:0:1::2"), npm, ""))

	f = limit(func(o *rateLimiterOptions) { o.Requests, o.Burst = 1, 5 })
	assert.Equal(t, 5, take(f, 100, from("192.0.2.1"), npm, ""))
	c.advance(time.Second)
	assert.Equal(t, 1, take(f, 100, from("192.0.2.1"), npm, ""))

	f = limit(func(o *rateLimiterOptions) { o.Requests, o.By = 2, []string{"user", "hub"} })
	other := &Hub{Name: "other"}
	assert.Equal(t, 2, take(f, 9, from("192.0.2.1"), npm, "a"))
	assert.Equal(t, 0, take(f, 9, from("192.0.2.2"), npm, "a"))
	assert.Equal(t, 2, take(f, 9, from("192.0.2.2"), npm, "b"))
	assert.Equal(t, 2, take(f, 9, from("192.0.2.2"), other, "a"))

	f = limit(func(o *rateLimiterOptions) { o.Requests, o.Clients = 2, 2 })
	for i := range 1000 {
		take(f, 1, from(fmt.Sprintf("198.51.%d.%d", i/250, i%250)), npm, "")
	}
	assert.LessOrEqual(t, f.Status().(map[string]int)["budgets"], 3, "two, and the one that all others share")
	c.advance(time.Minute)
	assert.Equal(t, 2, take(f, 9, from("203.0.113.1"), npm, ""), "those that are whole again make room")

	f = limit(func(o *rateLimiterOptions) { o.Requests, o.Per, o.Clients = 24, 24*time.Hour, 2 })
	assert.Equal(t, 1, take(f, 1, from("203.0.113.1"), npm, ""))
	assert.Equal(t, 1, take(f, 1, from("203.0.113.9"), npm, ""))
	assert.Equal(t, 24, take(f, 99, from("203.0.113.2"), npm, ""), "what all others share")
	c.advance(90 * time.Minute)
	assert.Equal(t, 24, take(f, 99, from("203.0.113.3"), npm, ""), "room is made as soon as there is some")
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, hub, name, version string
		names, matches              bool
	}{
		{"pkg:npm/left-pad", "npm", "left-pad", "1.0.0", true, true},
		{"pkg:npm/left-pad", "npm", "left-pads", "1.0.0", false, true},
		{"pkg:npm/left-pad", "pypi", "left-pad", "1.0.0", false, true},
		{"pkg:npm/left-pad@1.*", "npm", "left-pad", "1.3", true, true},
		{"pkg:npm/left-pad@1.*", "npm", "left-pad", "2.1.3", true, false},
		{"pkg:npm/left-pad@1.*", "npm", "left-pad", "", true, false},
		{"pkg:npm/left-pad@*", "npm", "left-pad", "", true, true},
		{"pkg:npm/%40scope/x@2", "npm", "@scope/x", "2", true, true},
		{"pkg:npm/@scope/*", "npm", "@scope/x", "2", true, true},
		{"@scope/x", "npm", "@scope/x", "2", true, true},
		{"left@1.0", "maven", "left", "1.0", true, true},
		{"pkg:*/left", "apt", "left", "1.0", true, true},
		{"pkg:golang/example.org/x/*@1.2.0", "go", "example.org/x/y/z", "v1.2.0", true, true},
		{"pkg:golang/example.org/x", "go", "example.org/x/y", "v1.2.0", false, true},
		{"pkg:maven/org.example/lib@1", "maven", "org.example:lib", "1", true, true},
		{"pkg:pypi/De_Mo.x", "pypi", "de-mo-x", "1", true, true},
		{"My_Name", "pypi", "my-name", "1", true, true},
		{"pkg:pypi/my.-_name", "pypi", "my-name", "1", true, true},
		{"pkg:nuget/Newtonsoft.Json", "nuget", "newtonsoft.json", "13.0.1", true, true},
		{"newtonsoft.*", "nuget", "Newtonsoft.Json", "13.0.1", true, true},
		{"newtonsoft.*", "maven", "Newtonsoft.Json", "13.0.1", false, true},
		{"pkg:cargo/serde_json", "cargo", "Serde-Json", "1.0.1", true, true},
		{"pkg:composer/Acme/Log", "composer", "acme/log", "1", true, true},
		{"pkg:gem/rails", "rubygems", "rails", "7", true, true},
		{"pkg:conda/numpy", "conda", "numpy", "2", true, true},
		{"pkg:hex/jason", "hex", "jason", "1", true, true},
		{"pkg:pub/http", "pub", "http", "1", true, true},
		{"pkg:helm/demo", "helm", "demo", "1", true, true},
		{"pkg:terraform/hashicorp/null", "terraform", "hashicorp/null", "1", true, true},
		{"pkg:deb/debian/curl", "apt", "curl", "1", true, true},
		{"pkg:docker/library/alpine@3.*", "oci", "library/alpine", "3.20", true, true},
		{"*a*b*c", "npm", "xaybzc", "1", true, true},
		{"*a*b*c", "npm", "xaybz", "1", false, true},
		{"a*a", "npm", "a", "1", false, true},
		{"pkg:npm/x@1%2B2", "npm", "x", "1+2", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.pattern+" "+tt.name+" "+tt.version, func(t *testing.T) {
			var p Pattern
			require.NoError(t, p.UnmarshalText([]byte(tt.pattern)))
			assert.Equal(t, tt.names, p.names(&Hub{Type: tt.hub}, tt.name))
			assert.Equal(t, tt.matches, p.matches(tt.version))
			assert.Equal(t, tt.pattern, p.String())
		})
	}
	for _, bad := range []string{"", "pkg:npm", "pkg:npm/", "pkg:nosuch/x", "pkg:npm/x@", "pkg:npm/x?a=b", "pkg:npm/x#y", "pkg:npm/%zz", "pkg:npm/x@%z"} {
		assert.Error(t, new(Pattern).UnmarshalText([]byte(bad)), bad)
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"pkg:npm/%40scope/*@1.*", "left-pad@1", "a*b*c", "pkg:maven/g/a"} {
		f.Add(s, "@scope/x", "1.2")
	}
	f.Fuzz(func(t *testing.T, pattern, name, version string) {
		var p Pattern
		if p.UnmarshalText([]byte(pattern)) != nil {
			return
		}
		require.NotEmpty(t, p.name)
		p.names(npm, name)
		p.matches(version)
		if !strings.ContainsAny(pattern, "*%@:/") && name == pattern {
			require.True(t, p.names(npm, name))
		}
	})
}

func TestPurlOf(t *testing.T) {
	assert.Equal(t, "pkg:npm/%40scope/x@1.0.0", purlOf(npm, "@scope/x", "1.0.0"))
	assert.Equal(t, "pkg:maven/org.example/lib@1", purlOf(&Hub{Type: "maven"}, "org.example:lib", "1"))
	assert.Equal(t, "pkg:golang/example.org/x", purlOf(&Hub{Type: "go"}, "example.org/x", ""))
	assert.Equal(t, "pkg:oci/library/alpine@3", purlOf(&Hub{Type: "oci"}, "library/alpine", "3"))
	assert.Equal(t, "pkg:gem/rails@7.0", purlOf(&Hub{Type: "rubygems"}, "rails", "7.0"))
	assert.Equal(t, "pkg:generic/a%3Fb%23c/d", purlOf(&Hub{Type: "files"}, "a?b#c/d", ""))
}

func basicField(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// BenchmarkFlow: ten filters on a hit are to take at most 10 µs.
func BenchmarkFlow(b *testing.B) {
	c := newClock()
	k := map[string]Kind{}
	named := map[string]*Named{}
	var steps []Step
	add := func(name string, kind Kind, f Filter) {
		k[name], named[name] = kind, NewNamed(name, name, kind, f)
		steps = append(steps, Step{Filter: name})
	}
	add("audit", Audit(), makeFilter(b, Audit(), c, func(o *auditOptions) { o.File = "/dev/null" }))
	add("cors", CORS(), makeFilter(b, CORS(), c, func(o *corsOptions) { o.Origins = []string{"https://app.example.org"} }))
	add("networks", ClientNetworks(), makeFilter(b, ClientNetworks(), c, func(o *clientNetworksOptions) {
		o.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}))
	add("token", TokenAuth(), makeFilter(b, TokenAuth(), c, func(o *tokenAuthOptions) { o.Tokens = []namedToken{{"ci", "secret"}} }))
	add("rate", RateLimiter(), makeFilter(b, RateLimiter(), c, func(o *rateLimiterOptions) { o.Requests, o.Per = 1e9, time.Second }))
	add("counter", HeaderCounter(), makeFilter(b, HeaderCounter(), c, func(o *headerCounterOptions) { o.Headers = []string{"Cookie", "Authorization"} }))
	add("validator", Validator(), makeFilter(b, Validator(), c, func(o *validatorOptions) {
		o.Headers = map[string]validatorField{"User-Agent": {}}
	}))
	var deny Pattern
	require.NoError(b, deny.UnmarshalText([]byte("pkg:npm/bad@1.*")))
	add("policy", AllowDeny(), makeFilter(b, AllowDeny(), c, func(o *allowDenyOptions) { o.Deny = []Pattern{deny} }))
	add("cooldown", Cooldown(), makeFilter(b, Cooldown(), c, func(o *cooldownOptions) { o.MinAge = time.Hour }))
	add("polite", ResponseAdaptor(), makeFilter(b, ResponseAdaptor(), c, func(o *responseAdaptorOptions) { o.Header.Set = map[string]string{"X-A": "b"} }))
	hub := &Hub{Name: "npm", Type: "npm", Published: func(context.Context, *exchange.Request) (time.Time, error) { return time.Unix(0, 0), nil }}
	entry := &exchange.Entry{Status: 200, Header: http.Header{"Content-Type": {"a/b"}, "Etag": {`"x"`}}}
	hit := exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{Entry: entry, Body: http.NoBody, Outcome: exchange.Outcome{Hit: true}}, nil
	})
	r := request("left-pad", "1.0.0", "Authorization", "Bearer secret", "User-Agent", "npm", "Cookie", "a=b")
	for _, bench := range []struct {
		name string
		src  exchange.Source
	}{{"none", (*Flow)(nil).Wrap(hub, hit)}, {"ten", NewFlow(steps, named, k).Wrap(hub, hit)}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			before := processTime(b)
			for b.Loop() {
				resp, err := bench.src.Get(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				if resp.Sent != nil {
					resp.Sent(1, nil)
				}
			}
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op") // on a machine with other work
		})
	}
}

// processTime is what the process has used of processors.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What filters have done to a request stays where a path is made another one.
func TestRequestAdaptorKeepsWhatWasDone(t *testing.T) {
	c := newClock()
	hub := &Hub{Name: "h", Type: "npm", Parse: func(r *http.Request) (*exchange.Request, error) {
		path := r.URL.EscapedPath()
		return &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Package: strings.Trim(path, "/"), Header: http.Header{
			"Authorization": r.Header["Authorization"], "Accept": {"*/*"},
		}}, nil
	}}
	token := makeFilter(t, TokenAuth(), c, func(o *tokenAuthOptions) { o.Tokens = []namedToken{{"ann", "t"}} })
	fields := makeFilter(t, RequestAdaptor(), c, func(o *requestAdaptorOptions) { o.Header.Set = map[string]string{"X-Key": "k"} })
	sieve := &exchange.Sieve{Rules: "some", Shows: func(string, time.Time) bool { return false }}
	moved := makeFilter(t, RequestAdaptor(), c, func(o *requestAdaptorOptions) { o.Path.TrimPrefix = "/old" })

	r, err := hub.Parse(httptest.NewRequest("GET", "/old/a%20b%5B1%5D", nil))
	require.NoError(t, err)
	r.Head, r.Client.Header = true, http.Header{"Authorization": {"Bearer t"}}
	r.Header["Authorization"] = []string{"Bearer t"}
	x := &Exchange{Hub: hub, Request: r}
	for _, f := range []Filter{token, fields, word{does: func(x *Exchange) { x.Sift(sieve) }}, moved} {
		require.Empty(t, f.Handle(t.Context(), x))
	}
	assert.Equal(t, "/a%20b%5B1%5D", x.Request.Key.Path, "escapes are not escaped again")
	assert.Equal(t, http.Header{"Accept": {"*/*"}, "X-Key": {"k"}}, x.Request.Header)
	assert.Same(t, sieve, x.Request.Sieve)
	assert.True(t, x.Request.Head)

	bad := makeFilter(t, RequestAdaptor(), c, func(o *requestAdaptorOptions) { o.Path.AddPrefix = "/%zz" })
	result, x := handle(bad, hub, r)
	assert.Equal(t, "invalidPath", result)
	assert.Equal(t, 404, x.Status())
}
