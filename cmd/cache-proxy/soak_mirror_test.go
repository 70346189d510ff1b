//go:build soak

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Faults are what is wrong with a mirror at present. Those of type float64 are
// the share of answers that have them.
type faults struct {
	cut, reset, stall, lie, slow float64
	status                       map[int]float64
	portal                       bool
	down                         bool // connections are reset before an answer
	lag                          int  // generations that it is behind
}

// A badMirror serves a world, as well as its faults let it.
type badMirror struct {
	world  *world
	server *httptest.Server

	mu         sync.Mutex
	random     *rand.Rand // guarded by mu
	faults     faults     // guarded by mu
	generation int        // guarded by mu; that it has
	heal       chan struct{}
}

func newBadMirror(t *testing.T, w *world, seed uint64) *badMirror {
	m := &badMirror{world: w, random: rand.New(rand.NewPCG(seed, 2)), heal: make(chan struct{})}
	m.server = httptest.NewUnstartedServer(m)
	m.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	m.server.Config.IdleTimeout = 2 * time.Second // so that descriptors can be counted in the end
	m.server.Start()
	t.Cleanup(func() {
		m.set(faults{})
		m.server.CloseClientConnections()
		m.server.Close()
	})
	return m
}

// set replaces the faults; what stalls now goes on.
func (m *badMirror) set(f faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
	close(m.heal)
	m.heal = make(chan struct{})
}

// adopt takes a generation over.
func (m *badMirror) adopt(g int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation = max(m.generation, g)
}

// A mischief is how one request is answered.
type mischief struct {
	version           int
	status            int
	portal, down, lie bool
	cut, reset, stall bool
	slow              bool
	at                float64 // where in the content a fault happens
	heal              <-chan struct{}
}

func (m *badMirror) plan() mischief {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.faults
	draw := func(share float64) bool { return m.random.Float64() < share }
	p := mischief{version: max(0, m.generation-f.lag), portal: f.portal, down: f.down, lie: draw(f.lie), slow: draw(f.slow),
		cut: draw(f.cut), reset: draw(f.reset), stall: draw(f.stall), at: m.random.Float64(), heal: m.heal}
	for status, share := range f.status {
		if draw(share) {
			p.status = status
		}
	}
	return p
}

// ServeHTTP implements [http.Handler].
func (m *badMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := m.plan()
	o := m.world.find(r.URL.Path)
	switch {
	case p.down:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		return
	case p.portal:
		if o != nil {
			o.note("portal")
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(portal)
		return
	case p.status != 0:
		if p.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, "out of order", p.status)
		return
	case o == nil:
		http.NotFound(w, r)
		return
	}
	version := min(p.version, m.world.versions(o)-1)
	content, modified := o.bytes(version), m.world.modified(version)
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if o.etag {
		h.Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	}
	if o.class == web {
		h.Set("Cache-Control", fmt.Sprintf("max-age=%d", o.seed%3))
	}
	if p.lie {
		o.note("lie")
		content = o.lie(version)
	}
	f := &faulty{ResponseWriter: w, request: r, plan: p, left: int(p.at * float64(len(content))), chunked: o.chunked}
	http.ServeContent(f, r, "", modified, bytes.NewReader(content))
}

// faulty is a response that goes wrong in its content.
type faulty struct {
	http.ResponseWriter
	request *http.Request
	plan    mischief
	left    int // bytes until it does
	chunked bool
}

func (f *faulty) WriteHeader(status int) {
	if f.chunked && status == http.StatusOK {
		f.Header().Del("Content-Length")
	}
	f.ResponseWriter.WriteHeader(status)
}

func (f *faulty) Write(b []byte) (int, error) {
	n := 0
	for len(b) > 0 {
		piece := b[:min(len(b), 16<<10)]
		if f.left < len(piece) {
			if f.left > 0 {
				m, err := f.ResponseWriter.Write(piece[:f.left])
				n, b, f.left = n+m, b[m:], 0
				if err != nil {
					return n, err
				}
				continue
			}
			f.befall()
			f.left = 1 << 40
		}
		if f.plan.slow {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-f.plan.heal:
				f.plan.slow = false
			}
		}
		m, err := f.ResponseWriter.Write(piece)
		n, b, f.left = n+m, b[m:], f.left-m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// befall lets happen what is planned.
func (f *faulty) befall() {
	c := http.NewResponseController(f.ResponseWriter)
	switch {
	case f.plan.reset:
		c.Flush()
		if conn, _, err := c.Hijack(); err == nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
		panic(http.ErrAbortHandler)
	case f.plan.cut:
		c.Flush()
		panic(http.ErrAbortHandler)
	case f.plan.stall:
		c.Flush()
		select {
		case <-f.plan.heal:
		case <-f.request.Context().Done():
		}
	}
}

// String is for the history.
func (f faults) String() string {
	var all []string
	share := func(name string, n float64) {
		if n > 0 {
			all = append(all, fmt.Sprintf("%s %.0f %%", name, 100*n))
		}
	}
	share("cut", f.cut)
	share("reset", f.reset)
	share("stall", f.stall)
	share("lie", f.lie)
	share("slow", f.slow)
	for status, n := range f.status {
		share(fmt.Sprint(status), n)
	}
	if f.portal {
		all = append(all, "portal")
	}
	if f.down {
		all = append(all, "down")
	}
	if f.lag > 0 {
		all = append(all, fmt.Sprintf("%d behind", f.lag))
	}
	return strings.Join(all, ", ")
}
