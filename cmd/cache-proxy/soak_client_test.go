//go:build soak

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A soakClient asks for one thing after another, and knows what it may be given.
type soakClient struct {
	name   string
	daemon *soaked
	world  *world
	lesson *lesson
	past   *history
	random *rand.Rand
	http   *http.Client

	root     int               // the newest generation of the set that it has seen
	packages []string          // of the index that it has read last
	etags    map[string]string // by path: the last one, which says what it has
}

// A lesson remembers what the proxy has had the chance to learn and to write down.
type lesson struct {
	harmed atomic.Bool // at present it can not read and write what it wants

	mu        sync.Mutex
	life      int               // guarded by mu
	indexes   map[int]time.Time // guarded by mu; generations whose index was delivered in that life, and when first
	unwritten map[int]int       // guarded by mu; in which life a generation's root came first and could not be written down; 0: it could
}

// digestion is how long an index may take to become facts, which are written
// behind the client that has it.
const digestion = 5 * time.Second

// given takes note of an index or a root that was delivered. What is learned
// while there are no descriptors, or no disk, is tried again after a minute.
func (l *lesson) given(o *object, life, generation int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life != life {
		l.life, l.indexes = life, map[int]time.Time{}
	}
	at, unwritten := time.Now(), 0
	if l.harmed.Load() {
		at, unwritten = at.Add(time.Hour), life
	}
	if _, ok := l.indexes[generation]; !ok && o.class == index {
		l.indexes[generation] = at
	}
	if _, ok := l.unwritten[generation]; !ok && o.class == root {
		l.unwritten[generation] = unwritten
	}
}

// learned says whether an index that lists o was given long enough before.
func (l *lesson) learned(w *world, o *object, life int, by time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life != life {
		return false
	}
	for g, at := range l.indexes {
		if by.Sub(at) < digestion {
			continue
		}
		for i := range setPackages {
			if w.listed(i, g) == o {
				return true
			}
		}
	}
	return false
}

// forgotten says whether a root may be lost, since the process was killed before
// it could be written down.
func (l *lesson) forgotten(generation, life int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unwritten[generation] > 0 && l.unwritten[generation] < life
}

// newSoakClient makes client n, with an address of its own: what the proxy
// remembers of a client, it does by that.
func newSoakClient(n int, seed uint64, d *soaked, w *world, l *lesson, past *history) *soakClient {
	dialer := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+n))}}
	return &soakClient{name: fmt.Sprintf("client%d", n), daemon: d, world: w, lesson: l, past: past,
		random: rand.New(rand.NewPCG(seed, 100+uint64(n))), etags: map[string]string{},
		http: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableCompression: true}}}
}

// run asks until ctx ends.
func (c *soakClient) run(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for ctx.Err() == nil {
		switch n := c.random.IntN(10); {
		case n < 2:
			c.update(ctx)
		case n < 4 && len(c.packages) > 0:
			c.one(ctx, c.world.find(c.packages[c.random.IntN(len(c.packages))]))
		default:
			o := c.world.objects[c.random.IntN(len(c.world.objects))]
			if o.class != root && o.class != index {
				c.one(ctx, o)
			}
		}
	}
}

// update is what a client of the signed set does: the root, then its member.
func (c *soakClient) update(ctx context.Context) {
	if c.ask(ctx, c.world.find(rootPath), request{}) == "" {
		return
	}
	path := membersPath
	if c.random.IntN(2) == 0 {
		path += ".gz"
	}
	c.ask(ctx, c.world.find(path), request{})
}

// one asks for o in one of the ways there are.
func (c *soakClient) one(ctx context.Context, o *object) {
	switch n := c.random.IntN(20); {
	case n < 3:
		from := c.random.IntN(o.size)
		to := from + c.random.IntN(o.size-from)
		c.ask(ctx, o, request{rng: fmt.Sprintf("%d-%d", from, to)})
	case n < 4:
		c.ask(ctx, o, request{rng: fmt.Sprintf("-%d", 1+c.random.IntN(o.size))})
	case n < 6:
		c.ask(ctx, o, request{method: http.MethodHead})
	case n < 8:
		c.ask(ctx, o, request{conditional: true})
	case n < 10:
		c.ask(ctx, o, request{abort: 1 + c.random.IntN(o.size)})
	case n < 11:
		c.ask(ctx, o, request{slow: true})
	default:
		c.ask(ctx, o, request{})
	}
}

// A request is how to ask.
type request struct {
	method      string // "" is GET
	rng         string
	conditional bool
	abort       int // after so many bytes
	slow        bool
}

// ask asks for o, judges the answer, and returns what it was: "" if it was nothing whole.
func (c *soakClient) ask(ctx context.Context, o *object, how request) (what string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	method := how.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, c.daemon.url+o.path, nil)
	if err != nil {
		panic(err)
	}
	if how.rng != "" {
		r.Header.Set("Range", "bytes="+how.rng)
	}
	etag := c.etags[o.path]
	if how.conditional && etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	began := time.Now()
	life, _ := c.daemon.now()
	harmed := c.lesson.harmed.Load()
	resp, err := c.http.Do(r)
	if err != nil {
		c.past.count("no answer")
		c.past.add(c.name, "%s %s %+v: %v", method, o.path, how, err)
		if time.Since(began) < 50*time.Millisecond {
			time.Sleep(50 * time.Millisecond) // it may be gone for a while
		}
		return ""
	}
	body, err := read(resp.Body, how)
	resp.Body.Close()
	cancel()
	a := answer{object: o, how: how, began: began, life: life, harmed: harmed || c.lesson.harmed.Load(), resp: resp, body: body, err: err}
	what = c.judge(&a)
	c.past.count(fmt.Sprint(resp.StatusCode))
	c.past.add(c.name, "%s %s %+v: after %v %d %s, %d bytes from %v on: %q %v", method, o.path, how,
		time.Since(began).Round(time.Millisecond), resp.StatusCode, resp.Header.Get("Cache-Status"), len(body), began.Sub(c.past.began).Seconds(), what, err)
	return what
}

// read reads content as a client does that may be slow, or leave.
func read(body io.Reader, how request) (b []byte, err error) {
	switch {
	case how.abort > 0:
		b, err = io.ReadAll(io.LimitReader(body, int64(how.abort)))
	case how.slow:
		var all bytes.Buffer
		for err == nil {
			_, err = io.CopyN(&all, body, 64<<10)
			time.Sleep(3 * time.Millisecond)
		}
		if err == io.EOF {
			err = nil
		}
		b = all.Bytes()
	default:
		b, err = io.ReadAll(body)
	}
	return b, err
}

// An answer is all there is to judge.
type answer struct {
	object *object
	how    request
	began  time.Time
	life   int  // of the daemon, at began
	harmed bool // the daemon may not have been able to read what it had written
	resp   *http.Response
	body   []byte
	err    error
}

// judge is the oracle of FAULTS.md: what ends well is byte for byte something
// that was published, or a mirror's lie that nobody could have known.
func (c *soakClient) judge(a *answer) (what string) {
	o, status := a.object, a.resp.StatusCode
	switch status {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusNotModified:
		if !a.how.conditional {
			c.past.violation(c.name, "304 to a request without a condition: %s", o.path)
		}
		return ""
	case http.StatusNotFound, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ""
	default:
		if status != http.StatusRequestedRangeNotSatisfiable || !o.noted("portal") { // which is shorter
			c.past.violation(c.name, "%d to %s %+v", status, o.path, a.how)
		}
		return ""
	}
	if a.how.method == http.MethodHead {
		c.head(a)
		return ""
	}
	off, total, ok := extent(a)
	if !ok {
		c.past.violation(c.name, "%s %+v: range %q", o.path, a.how, a.resp.Header.Get("Content-Range"))
		return ""
	}
	whole := a.err == nil && a.how.abort == 0
	what = c.world.match(o, a.body, off, whole && status == http.StatusOK)
	if what == "" && status == http.StatusOK && a.how.abort > 0 && len(a.body) < a.how.abort {
		whole = a.err == nil // it ended before the client left
	}
	switch {
	case what == "":
		c.past.violation(c.name, "%s %+v: %d bytes from %d of %d on are nothing that was published (%d, whole %v, %s, X-Cache %s)", o.path, a.how,
			len(a.body), off, total, status, whole, c.differs(o, a.body, off), a.resp.Header.Get("X-Cache"))
		return ""
	case !whole:
		if a.err != nil {
			c.past.count("cut")
		}
		return ""
	}
	c.lies(a, what)
	if status == http.StatusPartialContent {
		return ""
	}
	c.ordered(a, what)
	if etag := a.resp.Header.Get("Etag"); etag != "" {
		c.etags[o.path] = etag
	}
	return what
}

// head judges what is said of content that does not come.
func (c *soakClient) head(a *answer) {
	n := a.resp.ContentLength
	if n < 0 {
		return
	}
	for v := range c.world.versions(a.object) {
		if int64(len(a.object.bytes(v))) == n {
			return
		}
	}
	if !a.object.noted("portal") || n != int64(len(portal)) {
		c.past.violation(c.name, "HEAD %s: a length of %d", a.object.path, n)
	}
}

// extent is where the body lies in the content.
func extent(a *answer) (off, total int, ok bool) {
	if a.resp.StatusCode == http.StatusOK {
		return 0, -1, true
	}
	span, size, ok := strings.Cut(strings.TrimPrefix(a.resp.Header.Get("Content-Range"), "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	total, err3 := strconv.Atoi(size)
	if !ok || !ok2 || err1 != nil || err2 != nil || err3 != nil || to < from || to >= total || a.how.rng == "" {
		return 0, 0, false
	}
	if a.err == nil && len(a.body) != to-from+1 {
		return 0, 0, false
	}
	asked, until, _ := strings.Cut(a.how.rng, "-")
	if n, err := strconv.Atoi(asked); err == nil {
		end, _ := strconv.Atoi(until)
		return from, total, n == from && to == min(end, total-1)
	}
	n, _ := strconv.Atoi(until)
	return from, total, from == max(0, total-n) && to == total-1
}

// lies says which lies the proxy could have known: whole content whose digest is
// in its path, or was in an index that it has had the time to read in this life
// of it and what it wrote down could be read, and content that it has had the time to prove. A part of content that is
// still coming cannot be proved.
func (c *soakClient) lies(a *answer, what string) {
	if !strings.Contains(what, "lie") && what != "portal" {
		return
	}
	c.past.count("lies")
	o, known := a.object, false
	switch o.class {
	case named:
		known = true
	case index:
		known = true
	case root:
		known = what == "portal"
	case listed:
		life, _ := c.daemon.now()
		known = life == a.life && !a.harmed && c.lesson.learned(c.world, o, life, a.began)
	}
	if a.resp.StatusCode == http.StatusPartialContent && a.resp.Header.Get("X-Cache") != "HIT" {
		known = false
	}
	if known {
		c.past.violation(c.name, "%s %+v: a mirror's lie (%s) came through, X-Cache %s", o.path, a.how, what, a.resp.Header.Get("X-Cache"))
	}
}

// ordered checks that the set does not go back, and takes from its index what
// else there is to ask for.
func (c *soakClient) ordered(a *answer, what string) {
	o, body := a.object, a.body
	if o.class != root && o.class != index {
		return
	}
	var g int
	fmt.Sscanf(what, "v%d", &g)
	life, _ := c.daemon.now()
	if life == a.life {
		c.lesson.given(o, a.life, g)
	}
	switch {
	case o.class == root && g < c.root && c.lesson.forgotten(c.root, life):
		c.past.count("forgotten roots")
		c.root = g
	case o.class == root && g < c.root:
		c.past.violation(c.name, "generation %d after %d", g, c.root)
	case o.class == root:
		c.root = g
	case o.class == index && !bytes.Equal(o.bytes(c.root), body):
		// A client that remembers nothing better asks again. It costs it a second, but no trust.
		c.past.count("another generation's index")
		if g < c.root {
			c.past.violation(c.name, "%s of generation %d after a root of %d", o.path, g, c.root)
		}
	case o.class == index:
		text := io.Reader(bytes.NewReader(body))
		if strings.HasSuffix(o.path, ".gz") {
			text, _ = gzip.NewReader(text)
		}
		c.packages = c.packages[:0]
		b, _ := io.ReadAll(text)
		for line := range strings.Lines(string(b)) {
			if file, ok := strings.CutPrefix(line, "Filename: "); ok {
				c.packages = append(c.packages, "/debian/"+strings.TrimSpace(file))
			}
		}
	}
}

// differs says where b goes another way than each version of o.
func (c *soakClient) differs(o *object, b []byte, off int) string {
	var all []string
	for v := range c.world.versions(o) {
		content, n := o.bytes(v), 0
		for n < len(b) && off+n < len(content) && b[n] == content[off+n] {
			n++
		}
		if n > 0 {
			all = append(all, fmt.Sprintf("v%d as far as %d of %d", v, off+n, len(content)))
		}
	}
	return strings.Join(all, ", ")
}
