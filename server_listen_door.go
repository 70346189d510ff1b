package cacheproxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// A door is an HTTP server with the limits that are one connection's. A reload
// that changes them makes another one: connections keep the door that they came
// in by, which is closed behind the last of them.
type door struct {
	limits doorLimits
	http   http.Server
	front  *front.Front // between feed and http
	feed   feed
	done   chan struct{} // closed when nothing more is taken from feed; nil: it was never opened

	mu       sync.Mutex
	conns    int  // guarded by mu
	replaced bool // guarded by mu
	shut     bool // nobody enters; guarded by mu
}

// doorLimits are what makes a door: equal ones are one.
type doorLimits struct {
	header, idle time.Duration
	line, fields Size
	lines        int
	streams      int
	connect      bool
}

// door is the one for cfg: old if it is that one, which may be nil.
func (s *Server) door(cfg *Config, old *door) *door {
	l := doorLimits{
		header: time.Duration(cfg.Limits.ClientHeaderTimeout),
		idle:   time.Duration(cfg.Limits.ClientIdleTimeout),
		line:   cfg.Limits.RequestLine,
		fields: cfg.Limits.RequestHeaders,
		lines:  cfg.Limits.RequestFields,

		streams: cfg.Limits.HTTP2Streams,
		connect: len(cfg.Forward.Connect) > 0,
	}
	if old != nil && old.limits == l {
		return old
	}
	d := &door{limits: l, feed: feed{conns: make(chan net.Conn), closed: make(chan struct{})}}
	d.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: l.header,
		IdleTimeout:       l.idle,
		MaxHeaderBytes:    int(l.line + l.fields),
		ConnContext:       edge.ConnContext,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	d.front = front.New(front.Options{
		Target:        int(l.line),
		Header:        int(l.fields),
		Fields:        l.lines,
		HeaderTimeout: l.header,
		Ready:         &s.hot,
		Watched:       true,
		IdleTimeout:   l.idle,
		Connect:       l.connect,
		Streams:       l.streams,
		Log:           s.log,
	})
	d.front.Prepare(&d.http)
	return d
}

// open begins to serve what is fed.
func (d *door) open() {
	d.done = make(chan struct{})
	go func() {
		defer close(d.done)
		_ = d.http.Serve(d.front.Listener(&d.feed)) // ends when the feed does
	}()
}

// entered counts a connection that is to be fed; false if nobody enters any more.
func (d *door) entered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return false
	}
	d.conns++
	return true
}

// left is the end of a connection that entered.
func (d *door) left() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns--
	d.reconsider()
}

// replace lets the door close behind its last connection.
func (d *door) replace() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replaced = true
	d.reconsider()
}

// reconsider shuts a door that nobody needs. Callers hold mu.
func (d *door) reconsider() {
	if d.replaced && d.conns == 0 && !d.shut {
		d.shut = true
		d.feed.Close()
	}
}

// gone says whether the door has been shut.
func (d *door) gone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shut
}

// drain lets the requests of all connections end until ctx is done, and then cuts
// them; false if there was something to cut.
func (d *door) drain(ctx context.Context) bool {
	if d.done == nil {
		return true
	}
	err := d.http.Shutdown(ctx)
	if err == nil {
		err = d.front.Drain(ctx)
	}
	if err != nil {
		d.http.Close()
	}
	<-d.done
	return err == nil
}

// doors are the current one and those that still have connections.
type doors struct {
	mu   sync.Mutex
	all  []*door           // guarded by mu
	past map[string]uint64 // what doors that are gone have refused; guarded by mu

	before uint64 // what they have answered; guarded by mu
}

func (s *doors) add(d *door) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(slices.DeleteFunc(s.all, func(d *door) bool {
		if !d.gone() {
			return false
		}
		if s.past == nil {
			s.past = map[string]uint64{}
		}
		count(s.past, d.front.Stats())
		s.before += d.front.Answered()
		return true
	}), d)
}

// refused are the requests that all guards have refused, by reason.
func (s *doors) refused() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := map[string]uint64{}
	count(sum, s.past)
	for _, d := range s.all {
		count(sum, d.front.Stats())
	}
	return sum
}

// answered are the requests that all fronts have answered themselves.
func (s *doors) answered() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.all {
		n += d.front.Answered()
	}
	return n + s.before
}

func count(to, more map[string]uint64) {
	for name, n := range more {
		to[name] += n
	}
}

// drain lets requests under way end until ctx is done, and then cuts them; false
// if there were any to cut.
func (s *doors) drain(ctx context.Context) bool {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	var cut atomic.Bool
	var wg sync.WaitGroup
	for _, d := range all {
		wg.Go(func() {
			if !d.drain(ctx) {
				cut.Store(true)
			}
		})
	}
	wg.Wait()
	return !cut.Load()
}

// A feed is a listener whose connections are given to it.
type feed struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr is nobody's in particular: connections know their own.
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

func (f *feed) give(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.closed:
		c.Close()
	}
}
