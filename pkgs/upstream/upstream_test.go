package upstream

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// parse is a URL that must be one.
func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// origin is a server of h on loopback.
func origin(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// says is a handler of one answer.
func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// late is h after a while.
func late(d time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			h(w, r)
		case <-r.Context().Done():
		}
	}
}

// refusing is a URL where nobody listens.
func refusing(t testing.TB) string {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// mirrors are plain ones at some base URLs.
func mirrors(t testing.TB, bases ...string) (list []Mirror) {
	t.Helper()
	for _, b := range bases {
		list = append(list, Mirror{Server: parse(t, b)})
	}
	return list
}

// join makes a group, and closes it at the end.
func join(t testing.TB, o Options) *Group {
	t.Helper()
	g, err := New(o)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// request is a plain one for a target.
func request(target string) *exchange.Request {
	path, _, _ := strings.Cut(target, "?")
	return &exchange.Request{Key: exchange.Key{Hub: "default", Path: path}, Target: target}
}

// get reads a whole response.
func get(t testing.TB, g *Group, req *exchange.Request) (*exchange.Response, string) {
	t.Helper()
	res, err := g.Get(t.Context(), req)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

// failure is the error of a Get that has a face.
func failure(t testing.TB, g *Group, req *exchange.Request) *exchange.Error {
	t.Helper()
	res, err := g.Get(t.Context(), req)
	if res != nil {
		res.Body.Close()
	}
	var e *exchange.Error
	require.ErrorAs(t, err, &e)
	return e
}

// spooling makes spool files, counts them, and sees that all are closed in the end.
func spooling(t testing.TB) (func() (*os.File, error), *atomic.Int64) {
	dir, n := t.TempDir(), new(atomic.Int64)
	var mu sync.Mutex
	var files []*os.File
	t.Cleanup(func() {
		for _, f := range files {
			assert.ErrorIs(t, f.Close(), os.ErrClosed, "nobody closed it")
		}
	})
	return func() (*os.File, error) {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			return nil, err
		}
		n.Add(1)
		mu.Lock()
		files = append(files, f)
		mu.Unlock()
		return f, os.Remove(f.Name())
	}, n
}

func TestGetGivesWhatTheOriginSent(t *testing.T) {
	s := origin(t, says(200, "content", "ETag", `"1"`, "X-Foo", "bar", "Content-Type", "text/x", "Age", "7"))
	g := join(t, Options{Mirrors: mirrors(t, s.URL+"/")})
	before := time.Now()
	res, text := get(t, g, request("/a"))
	assert.Equal(t, "content", text)
	e := res.Entry
	assert.Equal(t, 200, e.Status)
	assert.EqualValues(t, 7, e.Size)
	assert.Equal(t, s.URL, e.Mirror)
	assert.Equal(t, []string{s.URL}, g.Mirrors())
	assert.Equal(t, exchange.Key{Hub: "default", Path: "/a"}, e.Key)
	assert.False(t, e.Requested.Before(before) || e.Received.Before(e.Requested))
	for name, value := range map[string]string{"ETag": `"1"`, "X-Foo": "bar", "Content-Type": "text/x", "Age": "7"} {
		assert.Equal(t, value, e.Header.Get(name), name)
	}
	assert.NotEmpty(t, e.Header.Get("Date"))
	assert.False(t, res.Unproven)
	assert.False(t, res.NoStore)
}

func TestLocate(t *testing.T) {
	tests := []struct {
		name, server, match, replace, target, canonical, want string
	}{
		{name: "no mapping", server: "http://h", target: "/any/p", want: "http://h/any/p"},
		{name: "base path", server: "http://h/repos/code", target: "/x", want: "http://h/repos/code/x"},
		{name: "base path, slash", server: "http://h/repos/code/", match: "/microsoft-code/(.*)", replace: "/$1", target: "/microsoft-code/pool/a", want: "http://h/repos/code/pool/a"},
		{name: "mapping", server: "http://h", match: "/ubuntu/(.*)", replace: "/$1", target: "/ubuntu/dists/x", want: "http://h/dists/x"},
		{name: "unanchored", server: "http://h", match: "/ubuntu/(.*)", replace: "/$1", target: "/foo/ubuntu/x", want: "http://h/foo/x"},
		{name: "two groups", server: "http://h/", match: "/(debian|ubuntu)/(.*)", replace: "/$1/$2", target: "/debian/x", want: "http://h/debian/x"},
		{name: "no match", server: "http://h", match: "^/ubuntu/", replace: "/", target: "/debian/x"},
		{name: "no replacement", server: "http://h", match: "^/ubuntu/", target: "/debian/x", want: "http://h/debian/x"},
		{name: "query", server: "http://h", target: "/x?a=b%20c", want: "http://h/x?a=b%20c"},
		{name: "query does not match", server: "http://h", match: "^/x$", replace: "/y", target: "/x?a", want: "http://h/y?a"},
		{name: "spelling is kept", server: "http://h", match: "^/(.*)", replace: "/$1", target: "/libx%2b%2b%7e@a%2fb", canonical: "/libx++~@a%2Fb", want: "http://h/libx%2b%2b%7e@a%2fb"},
		{name: "canonical decides", server: "http://h", match: `^/a\+(.*)`, replace: "/$1", target: "/a%2bx", canonical: "/a+x", want: "http://h/x"},
		{name: "canonical does not match", server: "http://h", match: `%2b`, replace: "/$1", target: "/a%2bx", canonical: "/a+x"},
		{name: "no double slash", server: "http://h//b//", target: "//x//y/./z/", want: "http://h/b/x/y/z/"},
		{name: "replacement without slash", server: "http://h/b", match: "^/u/(.*)", replace: "$1", target: "/u/x", want: "http://h/b/x"},
		{name: "trailing slash", server: "http://h/b", target: "/simple/x/", want: "http://h/b/simple/x/"},
		{name: "root", server: "http://h", target: "/", want: "http://h/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Mirrors: mirrors(t, test.server)}
			if test.match != "" {
				o.Mirrors[0].Path.Match = regexp.MustCompile(test.match)
			}
			o.Mirrors[0].Path.Replace = test.replace
			req := request(test.target)
			if test.canonical != "" {
				req.Key.Path = test.canonical
			}
			tiers, _, err := join(t, o).plan(req)
			if test.want == "" {
				require.ErrorIs(t, err, fs.ErrNotExist)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, tiers[0][0].url.String())
		})
	}
}

func TestPathOnTheWire(t *testing.T) {
	var got atomic.Value
	s := origin(t, func(w http.ResponseWriter, r *http.Request) { got.Store(r.RequestURI) })
	g := join(t, Options{Mirrors: mirrors(t, s.URL+"/b%20c/")})
	req := request("/@sc%2fname%2b+%7e?q=%2f")
	get(t, g, req)
	assert.Equal(t, "/b%20c/@sc%2fname%2b+%7e?q=%2f", got.Load())
}

func TestUnmatchedIsNeverAsked(t *testing.T) {
	s := origin(t, func(w http.ResponseWriter, r *http.Request) { t.Error("asked") })
	o := Options{Mirrors: mirrors(t, s.URL)}
	o.Mirrors[0].Path.Match, o.Mirrors[0].Path.Replace = regexp.MustCompile("^/ubuntu/"), "/"
	_, err := join(t, o).Get(t.Context(), request("/debian/x"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestEachMirrorHasItsOwnPath(t *testing.T) {
	var a, b atomic.Int64
	one := origin(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/debian/x", r.URL.Path)
		a.Add(1)
		w.WriteHeader(500)
	})
	two := origin(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/x", r.URL.Path)
		b.Add(1)
		w.WriteHeader(500)
	})
	o := Options{Mirrors: mirrors(t, one.URL, two.URL)}
	o.Mirrors[1].Path.Match, o.Mirrors[1].Path.Replace = regexp.MustCompile("^/debian/(.*)"), "/$1"
	failure(t, join(t, o), request("/debian/x"))
	assert.EqualValues(t, 1, a.Load())
	assert.EqualValues(t, 1, b.Load())
}

func TestNoMirrors(t *testing.T) {
	_, err := join(t, Options{}).Get(t.Context(), request("/x"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestPromises(t *testing.T) {
	one := origin(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "short") })
	two := origin(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "as long as promised") })
	g := join(t, Options{Mirrors: mirrors(t, one.URL, two.URL)})
	req := request("/a")
	req.Size = 19
	res, err := g.Get(t.Context(), req)
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, two.URL, res.Entry.Mirror, "the other one's length is wrong")

	req.Avoid = []string{two.URL}
	assert.Equal(t, http.StatusBadGateway, failure(t, g, req).Status)
	req.Avoid = []string{one.URL, two.URL}
	assert.Equal(t, "no mirror has the right content", failure(t, g, req).Message)
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name string
		o    Options
	}{
		{"no server", Options{Mirrors: make([]Mirror, 1)}},
		{"scheme", Options{Mirrors: mirrors(t, "ftp://h/")}},
		{"query", Options{Mirrors: mirrors(t, "http://h/?a")}},
		{"mode", Options{Mirrors: mirrors(t, "http://h/"), Race: Race{Mode: "fastest"}}},
		{"ca", Options{Mirrors: []Mirror{{Server: parse(t, "https://h"), CA: []byte("x")}}}},
		{"proxy", Options{Mirrors: []Mirror{{Server: parse(t, "https://h"), Proxy: parse(t, "ftp://p")}}}},
		{"limit", Options{Mirrors: mirrors(t, "http://h/"), Limits: Limits{Idle: -1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.o)
			require.Error(t, err)
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	seen := make(chan http.Header, 1)
	s := origin(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		h.Set("Method", r.Method)
		seen <- h
	})
	o := Options{Mirrors: mirrors(t, s.URL), Via: "cache-1", UserAgent: "cache-proxy"}
	o.Mirrors[0].Server.User = url.UserPassword("u", "p")
	o.Mirrors[0].Header = map[string]string{"x-key": "v"}
	g := join(t, o)
	assert.Equal(t, []string{s.URL}, g.Mirrors())

	req := request("/a")
	req.Header = http.Header{"Accept": {"text/html"}, "Connection": {"upgrade"}, "Te": {"trailers"}, "Upgrade": {"h2c"}}
	get(t, g, req)
	assert.Equal(t, http.Header{
		"Accept": {"text/html"}, "Accept-Encoding": {"identity"}, "User-Agent": {"cache-proxy"}, "Via": {"1.1 cache-1"},
		"X-Key": {"v"}, "Authorization": {"Basic dTpw"}, "Host": {s.Listener.Addr().String()}, "Method": {"GET"},
	}, <-seen)

	req = request("/a")
	req.Client.Header = http.Header{"Via": {"1.1 a, 1.0 b", "2 c"}, "X-Other": {"the client's own"}}
	get(t, g, req)
	assert.Equal(t, []string{"1.1 a, 1.0 b", "2 c", "1.1 cache-1"}, (<-seen)["Via"])
	req.Client.Header = http.Header{"Via": {strings.Repeat("1.1 a, ", 1000)}}
	get(t, g, req)
	assert.Equal(t, []string{"1.1 cache-1"}, (<-seen)["Via"])

	req = request("/a")
	req.Head = true
	req.Header = http.Header{"Accept-Encoding": {"gzip"}, "User-Agent": {"apt"}}
	req.Validate = &exchange.Entry{Header: http.Header{"Etag": {`W/"x"`}, "Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"}}}
	get(t, g, req)
	h := <-seen
	o.Mirrors[0].Header["Host"] = "mirror.example.org"
	get(t, join(t, o), request("/a"))
	assert.Equal(t, "mirror.example.org", (<-seen).Get("Host"))
	assert.Equal(t, []string{"gzip", "apt", `W/"x"`, "Mon, 02 Jan 2006 15:04:05 GMT", "HEAD"}, []string{
		h.Get("Accept-Encoding"), h.Get("User-Agent"), h.Get("If-None-Match"), h.Get("If-Modified-Since"), h.Get("Method")})
}

func TestHead(t *testing.T) {
	s := origin(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "1234567") })
	o := Options{Mirrors: mirrors(t, s.URL, s.URL), Race: Race{Mode: All}}
	req := request("/a")
	req.Head = true
	res, text := get(t, join(t, o), req)
	assert.EqualValues(t, 1234567, res.Entry.Size)
	assert.Empty(t, text)
}

func TestEncodedContentIsKeptAsSent(t *testing.T) {
	s := origin(t, says(200, "\x1f\x8bnot really", "Content-Encoding", "gzip"))
	res, text := get(t, join(t, Options{Mirrors: mirrors(t, s.URL)}), request("/a"))
	assert.Equal(t, "\x1f\x8bnot really", text)
	assert.Equal(t, "gzip", res.Entry.Header.Get("Content-Encoding"))
}

func TestCallerGivesUp(t *testing.T) {
	s := origin(t, silent)
	for n := range 2 {
		g := join(t, Options{Mirrors: mirrors(t, s.URL, s.URL)[n:]})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := g.Get(ctx, request("/a"))
		cancel()
		var e *exchange.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 504, e.Status)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, g.mirrors[0].healthy() && g.mirrors[0].failures.Load() == 0, "it is not the mirror's fault")
	}
}

func BenchmarkGet(b *testing.B) {
	content := strings.Repeat("x", 1024)
	s := origin(b, says(200, content, "Content-Length", "1024"))
	g := join(b, Options{Mirrors: mirrors(b, s.URL), Limits: Limits{}})
	req := request("/a")
	b.ReportAllocs()
	for b.Loop() {
		res, err := g.Get(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
}
