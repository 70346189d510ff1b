package front

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A file is stored content.
type file struct{ *os.File }

func (f file) Path() string { return f.Name() }

// A shelf is a table with a way to publish in it.
type shelf struct {
	*Table
	epochs *Epochs
	dir    string
	now    time.Time
	front  *Front
}

func newShelf(t testing.TB, memory int64) *shelf {
	s := &shelf{epochs: NewEpochs(), dir: t.TempDir(), now: time.Now()}
	s.Table = NewTable(TableOptions{Epochs: s.epochs, Memory: memory, Now: func() time.Time { return s.now }})
	ready := new(atomic.Pointer[Table])
	ready.Store(s.Table)
	s.front = New(Options{Ready: ready})
	return s
}

func (s *shelf) weight() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

func key(path string) exchange.Key { return exchange.Key{Hub: "h", Path: path} }

// hit is a hit of path whose content is size bytes, for an edge to publish.
func (s *shelf) hit(t testing.TB, path string, size int) Hit {
	t.Helper()
	name := filepath.Join(s.dir, strings.ReplaceAll(path, "/", "_"))
	if _, err := os.Stat(name); err != nil {
		require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("x", size)), 0o600))
	}
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "example.org"
	return Hit{
		Request:  r,
		Exchange: &exchange.Request{Key: key(path), Policy: freshness.Policy{Class: freshness.Immutable}},
		Response: &exchange.Response{
			Entry: &exchange.Entry{Key: key(path), Status: 200, Size: int64(size), Received: s.now}, Body: file{f},
			Outcome: exchange.Outcome{Hit: true},
		},
		Header: http.Header{"Age": {"0"}, "Content-Length": {fmt.Sprint(size)}, "X-Request-Id": {"x"}, "Cache-Status": {"c; hit"}},
	}
}

// hears is the Sent of a hit whose answers f hears of.
func hears(f func(*Answer)) func() func(*Answer) { return func() func(*Answer) { return f } }

// publish publishes it twice: the first time opens the door.
func (s *shelf) publish(t testing.TB, h Hit) {
	for range 2 {
		s.Publish(s.Begin(h.Exchange.Key), h)
	}
}

// find is what the table has for a plain GET of path.
func (s *shelf) find(path string) *Ready {
	r := lookup(s.Table, maphash.String(s.seed, path), path, "example.org", "")
	if r == nil || !r.token.holds() {
		return nil
	}
	return r
}

func TestEpochs(t *testing.T) {
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", 10)
	s.Publish(s.Begin(key("/x")), h)
	assert.Nil(t, s.find("/x"), "once is not yet hot")
	s.publish(t, h)
	require.NotNil(t, s.find("/x"))

	done := s.epochs.Changing(key("/x"))
	assert.Nil(t, s.find("/x"), "from the beginning of a change")
	during := s.Begin(key("/x"))
	s.Publish(during, h)
	assert.Nil(t, s.find("/x"), "nothing that was looked up meanwhile")
	other := s.epochs.Changing(key("/x"))
	done()
	s.Publish(s.Begin(key("/x")), h)
	assert.Nil(t, s.find("/x"), "until all changes are over")
	other()
	s.Publish(during, h)
	assert.Nil(t, s.find("/x"))

	before := s.Begin(key("/x"))
	s.epochs.Changing(key("/x"))()
	s.Publish(before, h)
	assert.Nil(t, s.find("/x"), "looked up before the change")
	s.publish(t, h)
	assert.NotNil(t, s.find("/x"))
}

// Readers, publishers and changes at once: nobody finds what was replaced before it asked.
func TestEpochsRace(t *testing.T) {
	s := newShelf(t, 1<<20)
	var current atomic.Int64 // what the store has
	hits := make([]Hit, 50)
	for i := range hits {
		hits[i] = s.hit(t, "/x", 10)
		hits[i].Response.Entry.Mirror = fmt.Sprint(i)
	}
	var wg sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				epoch := s.Begin(key("/x"))
				s.Publish(epoch, hits[current.Load()])
				least := current.Load()
				if r := s.find("/x"); r != nil {
					var got int64
					fmt.Sscan(r.Entry.Mirror, &got)
					if got < least {
						t.Errorf("%d after %d was in place", got, least)
						return
					}
				}
			}
		})
	}
	for i := range hits {
		done := s.epochs.Changing(key("/x"))
		current.Store(int64(i))
		done()
		time.Sleep(time.Millisecond) // for the others to come by
	}
	close(end)
	wg.Wait()
}

func TestWhatIsNotPublished(t *testing.T) {
	for name, change := range map[string]func(*Hit){
		"HEAD":             func(h *Hit) { h.Request.Method = "HEAD" },
		"Range":            func(h *Hit) { h.Request.Header.Set("Range", "bytes=0-1") },
		"an own field":     func(h *Hit) { h.Request.Header.Set("X-Own", "a") },
		"a condition":      func(h *Hit) { h.Request.Header.Set("If-None-Match", `"x"`) },
		"two Accepts":      func(h *Hit) { h.Request.Header["Accept"] = []string{"a", "b"} },
		"Connection":       func(h *Hit) { h.Request.Header.Set("Connection", "close") },
		"absolute target":  func(h *Hit) { h.Request.RequestURI = "http://example.org/x" },
		"a miss":           func(h *Hit) { h.Response.Outcome.Hit = false },
		"a stale hit":      func(h *Hit) { h.Response.Outcome.Stale = true },
		"an error":         func(h *Hit) { h.Response.Entry.Status = 404 },
		"another's entry":  func(h *Hit) { h.Exchange.Key.Path = "/alias" },
		"unknown size":     func(h *Hit) { h.Response.Entry.Size = -1 },
		"a file cut short": func(h *Hit) { h.Response.Entry.Size = 11 },
		"no file":          func(h *Hit) { h.Response.Body = http.NoBody },
		"Connection sent":  func(h *Hit) { h.Header.Set("Connection", "close") },
		"two statuses":     func(h *Hit) { h.Header["Cache-Status"] = []string{"a", "b"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 1<<20)
			h := s.hit(t, "/x", 10)
			change(&h)
			s.publish(t, h)
			for i := range s.sets {
				for j := range s.sets[i] {
					require.Nil(t, s.sets[i][j].Load())
				}
			}
		})
	}
}

// The table stays within its memory, and what is used stays in the table while
// many come by once.
func TestMemory(t *testing.T) {
	s := newShelf(t, 200*(fixed+100))
	s.publish(t, s.hit(t, "/hot", 100))
	for i := range 1000 {
		if r := s.find("/hot"); assert.NotNil(t, r, "%d", i) {
			r.used.Store(true)
		}
		s.publish(t, s.hit(t, fmt.Sprintf("/%d", i), 100))
		require.LessOrEqual(t, s.bytes, int64(200*(fixed+100)))
	}
	count := 0
	for i := range s.sets {
		for j := range s.sets[i] {
			if s.sets[i][j].Load() != nil {
				count++
			}
		}
	}
	assert.Greater(t, count, 100)
}

// The content is read again only if the file is another one.
func TestSameFile(t *testing.T) {
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", 10)
	s.publish(t, h)
	answer := s.find("/x")
	s.publish(t, h)
	assert.Same(t, answer, s.find("/x"), "it says the same")
	s.now = s.now.Add(lifetime + 1)
	s.publish(t, h)
	assert.NotSame(t, answer, s.find("/x"))
	assert.Same(t, &answer.body[0], &s.find("/x").body[0])
	name := h.Response.Body.(file).Name()
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.WriteFile(name, []byte("yyyyyyyyyy"), 0o600))
	s.now = s.now.Add(lifetime + 1)
	s.publish(t, s.hit(t, "/x", 10))
	assert.Equal(t, "yyyyyyyyyy", string(s.find("/x").body))
}

// talk reads and answers requests on a connection in memory until the client leaves;
// what is not answered here fails.
func (s *shelf) talk(t *testing.T) (client net.Conn, done chan struct{}) {
	client, server := net.Pipe()
	c := s.front.wrap(server, new(atomic.Bool))
	done = make(chan struct{})
	go func() {
		defer close(done)
		_, err := c.Read(make([]byte, 4096))
		assert.ErrorIs(t, err, io.EOF)
		c.Close()
	}()
	return client, done
}

func ask(t *testing.T, c net.Conn, requests string, answers int) string {
	t.Helper()
	go io.WriteString(c, requests)
	var all strings.Builder
	b := make([]byte, 64<<10)
	for strings.Count(all.String(), "HTTP/1.1 200") < answers || !strings.HasSuffix(all.String(), "x") {
		n, err := c.Read(b)
		require.NoError(t, err)
		all.Write(b[:n])
	}
	return all.String()
}

const get = "GET /x HTTP/1.1\r\nHost: example.org\r\n\r\n"

// Requests in one piece, in a row, in pieces.
func TestAnswers(t *testing.T) {
	s := newShelf(t, 1<<20)
	h := s.hit(t, "/x", 10)
	var heard []Answer
	var ids []string
	h.Sent = hears(func(a *Answer) { heard, ids = append(heard, *a), append(ids, string(a.RequestID)) })
	s.publish(t, h)
	c, done := s.talk(t)
	first := ask(t, c, get, 1)
	assert.Contains(t, first, "Age: 0\r\nCache-Status: c; hit\r\nContent-Length: 10\r\nX-Request-Id: ")
	assert.True(t, strings.HasSuffix(first, " GMT\r\n\r\nxxxxxxxxxx"), first)
	ask(t, c, get+get+get, 3)
	go func() {
		for _, b := range []byte(get) {
			c.Write([]byte{b})
		}
	}()
	ask(t, c, "", 1)
	s.now = s.now.Add(900 * time.Millisecond)
	assert.Contains(t, ask(t, c, get, 1), "Age: 0\r\n")
	s.now = s.now.Add(100 * time.Millisecond)
	assert.Contains(t, ask(t, c, get, 1), "Age: 1\r\n")
	c.Close()
	<-done
	assert.EqualValues(t, 7, s.front.Answered())
	require.Len(t, heard, 7)
	assert.EqualValues(t, 10, heard[0].Bytes)
	assert.Contains(t, first, "X-Request-Id: "+ids[0]+"\r\n")
	assert.NotEqual(t, ids[0], ids[1])
}

// Behind a second one request looks again; behind another second all do.
func TestLifetime(t *testing.T) {
	s := newShelf(t, 1<<20)
	s.publish(t, s.hit(t, "/x", 10))
	c := s.front.wrap(&script{}, new(atomic.Bool)).(guarded).guard()
	answers := func() bool {
		c.head.reset()
		_, why := c.head.parse([]byte(get), &s.front.limits)
		require.Zero(t, why)
		done, err := c.answer([]byte(get))
		require.NoError(t, err)
		return done
	}
	assert.True(t, answers())
	s.now = s.now.Add(lifetime)
	assert.True(t, answers())
	s.now = s.now.Add(1)
	assert.False(t, answers(), "one looks")
	assert.True(t, answers(), "and the others need not wait")
	s.now = s.now.Add(lifetime)
	assert.False(t, answers())
	assert.False(t, answers())
	s.publish(t, s.hit(t, "/x", 10))
	assert.True(t, answers())
	c.ended.Store(true)
	assert.False(t, answers(), "its listener is closed")
}

// A connection that net/http takes for idle ends behind the answer that is under
// way, not within; and whoever drains waits for it.
func TestCloseBehindAnswer(t *testing.T) {
	s := newShelf(t, 1<<20)
	s.publish(t, s.hit(t, "/x", 60_000))
	client, server := net.Pipe()
	c := s.front.wrap(server, new(atomic.Bool))
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 4096))
		ended <- err
	}()
	_, err := io.WriteString(client, get)
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	drain, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, s.front.Drain(drain), context.Canceled)
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(string(rest), "xxx"))
	assert.Greater(t, len(rest), 60_000)
	assert.ErrorIs(t, <-ended, net.ErrClosed)
	assert.NoError(t, s.front.Drain(t.Context()))
}

// The time to wait for the next request begins behind each answer; a client that
// takes nothing is given up.
func TestAnswerDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 1<<20)
		s.options.WriteTimeout = time.Minute
		s.front.options.IdleTimeout = 75 * time.Second
		s.publish(t, s.hit(t, "/x", 10))
		client, server := net.Pipe()
		c := s.front.wrap(server, new(atomic.Bool))
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second))) // net/http's, for the first head
		ended := make(chan error, 1)
		read := func() {
			_, err := c.Read(make([]byte, 4096))
			ended <- err
		}
		go read()
		for range 3 {
			time.Sleep(9 * time.Second)
			s.now = time.Now()
			s.publish(t, s.hit(t, "/x", 10))
			ask(t, client, get, 1)
		}
		start := time.Now()
		assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
		assert.GreaterOrEqual(t, time.Since(start), 65*time.Second)
		assert.LessOrEqual(t, time.Since(start), 75*time.Second)

		s.now = time.Now()
		s.publish(t, s.hit(t, "/x", 10))
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		go read()
		start = time.Now()
		_, err := io.WriteString(client, get)
		require.NoError(t, err)
		assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
		assert.LessOrEqual(t, time.Since(start), 2*time.Minute)
		client.Close()
	})
}

// What the guard takes for plain is what the table takes for simple.
func FuzzPlain(f *testing.F) {
	for _, fields := range []string{
		"", "Accept: a\r\n", "accept: a\r\nAccept: b\r\n", "User-Agent: x\r\nuser-agent: y\r\n", "Connection: Keep-Alive\r\n", "Connection: keep-alive\r\nConnection: keep-alive\r\n",
		"Connection: close\r\n", "Connection: keep-alive, te\r\n", "Accept-Encoding: gzip\r\nAccept-Language: de\r\n", "Accept-Charset: x\r\n", "Content-Length: 0\r\n", "Range: bytes=0-\r\n", "Accept:\r\nAccept: b\r\n",
		"npm-session: a\r\nPacote-Version: 1\r\n", "npm-: a\r\n", "Cookie: a=b\r\n",
	} {
		f.Add(fields)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		request := "GET /x HTTP/1.1\r\nHost: example.org\r\n" + fields + "\r\n"
		got, _ := messages([]byte(request), 1<<20, 4096)
		if len(got) != 1 {
			return
		}
		var h head
		h.reset()
		n, why := h.parse([]byte(request), &limits{256, 1 << 10, 8})
		require.Zero(t, why)
		require.Equal(t, n, len(got[0].bytes))
		req, err := http.ReadRequest(newReader(got[0].bytes))
		require.NoError(t, err)
		if h.plain && h.method.to-h.method.from == 3 {
			assert.True(t, simple(req), "%q", fields)
			if accept := req.Header["Accept"]; len(accept) > 0 {
				assert.Equal(t, accept[0], string(h.accept.of([]byte(request))))
			} else {
				assert.Empty(t, h.accept.of([]byte(request)))
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	s := newShelf(b, 1<<20)
	s.publish(b, s.hit(b, "/pool/main/x/x_1.0_amd64.deb", 10))
	target, host := []byte("/pool/main/x/x_1.0_amd64.deb"), []byte("example.org")
	b.ReportAllocs()
	for b.Loop() {
		if lookup(s.Table, maphash.Bytes(s.seed, target), target, host, nil) == nil {
			b.Fatal("not there")
		}
	}
}

func BenchmarkHead(b *testing.B) {
	s := newShelf(b, 1<<20)
	s.publish(b, s.hit(b, "/x", 10))
	r := s.find("/x")
	buf := make([]byte, 0, 1024)
	var a Answer
	now := time.Now()
	stamp := s.front.stamp(now)
	b.ReportAllocs()
	for b.Loop() {
		if r.judge(now, &a) {
			r.appendHead(buf, now, stamp, &a)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	request := []byte("GET /debian/pool/main/x/x_1.0_amd64.deb HTTP/1.1\r\nHost: mirror.example.org:8881\r\nUser-Agent: Debian APT-HTTP/1.3 (2.6.1)\r\nAccept: text/*\r\n\r\n")
	lim := limits{8 << 10, 64 << 10, 100}
	var h head
	b.ReportAllocs()
	for b.Loop() {
		h.reset()
		if n, _ := h.parse(request, &lim); n == 0 {
			b.Fatal("not good")
		}
	}
}

var _ stored = file{}
