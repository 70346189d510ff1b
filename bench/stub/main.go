// Command stub is a mirror for measurements on loopback: it serves every
// object of package object, after a delay, at a rate, or never.
//
//	stub -listen 127.0.0.1:9001 -delay 5ms -rate 52428800
//
// GET /anything/SIZE-SEED, with single ranges; GET /-/stats counts the
// requests, bodies and bytes so far. GET /-/fault?mode=die makes every body, begun
// or not, end in a reset from now on; stall, send nothing more; crawl, 50 KiB a
// second; "" is well again.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/bench/internal/object"
)

type stub struct {
	pattern object.Pattern
	delay   time.Duration
	hang    bool
	rate    int64 // bytes a second over all responses; 0: no limit

	requests, bodies, bytes atomic.Int64
	fault                   atomic.Value // string

	mu   sync.Mutex
	next time.Time // guarded by mu: when the next byte may leave
}

func main() {
	s := &stub{pattern: object.NewPattern()}
	listen := flag.String("listen", "127.0.0.1:9001", "`address`")
	flag.DurationVar(&s.delay, "delay", 0, "before the head")
	flag.Int64Var(&s.rate, "rate", 0, "bytes a second, all responses together; 0 is no limit")
	flag.BoolVar(&s.hang, "hang", false, "accept and never answer")
	bare := flag.Bool("bare", false, "answer each path as a hit of a cache would be, from memory, and do nothing else")
	flag.Parse()
	if *bare {
		log.Fatal(http.ListenAndServe(*listen, &constant{stub: s}))
	}
	log.Fatal(http.ListenAndServe(*listen, s))
}

// A constant is what net/http costs by itself: it gives every path the header that a
// hit has, made once, and its content from memory.
type constant struct {
	stub *stub
	all  sync.Map // path: *held
}

type held struct {
	header  http.Header
	content []byte
}

func (c *constant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := c.all.Load(r.URL.Path)
	if !ok {
		o, err := c.stub.pattern.At(r.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		h := http.Header{}
		for name, value := range map[string]string{
			"Accept-Ranges": "bytes", "Age": "1", "Cache-Control": "no-cache", "Cache-Status": "cache-proxy; hit; ttl=3599",
			"Content-Length": strconv.FormatInt(o.Size, 10), "Content-Type": "application/octet-stream", "Etag": `"` + r.URL.Path + `"`,
			"Last-Modified": "Tue, 02 Jan 2024 03:04:05 GMT", "Via": "1.1 cache-proxy-01234567", "X-Cache": "HIT",
			"X-Cache-Upstream": "http://127.0.0.1:65535/", "X-Content-Type-Options": "nosniff", "X-Request-Id": "0123456789abc",
		} {
			h.Set(name, value)
		}
		found, _ = c.all.LoadOrStore(r.URL.Path, &held{h, slices.Clone(o.Piece(0, o.Size))})
	}
	one := found.(*held)
	maps.Copy(w.Header(), one.header)
	_, _ = w.Write(one.content)
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/-/stats" {
		fmt.Fprintf(w, "%d %d %d\n", s.requests.Load(), s.bodies.Load(), s.bytes.Load())
		return
	}
	if r.URL.Path == "/-/fault" {
		s.fault.Store(r.URL.Query().Get("mode"))
		return
	}
	s.requests.Add(1)
	if s.hang {
		<-r.Context().Done()
		return
	}
	o, err := s.pattern.At(r.URL.Path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	h := w.Header()
	etag := fmt.Sprintf(`"%s"`, strings.ReplaceAll(r.URL.Path, `"`, ""))
	h.Set("ETag", etag)
	h.Set("Last-Modified", "Tue, 02 Jan 2024 03:04:05 GMT")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Accept-Ranges", "bytes")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	off, n, status := int64(0), o.Size, http.StatusOK
	if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		if from, to, err := span(spec, o.Size); err == nil {
			off, n, status = from, to-from+1, http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, o.Size))
		}
	}
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		s.bodies.Add(1)
		s.send(w, r, o, off, n)
	}
}

// send writes n bytes from off on, and no more of them a second than allowed.
func (s *stub) send(w http.ResponseWriter, r *http.Request, o object.Object, off, n int64) {
	step := int64(1 << 20)
	if s.rate > 0 {
		step = max(1, min(step, s.rate/200))
	}
	for end := off + n; off < end; {
		p := o.Piece(off, min(step, end-off))
		switch s.fault.Load() {
		case "die":
			panic(http.ErrAbortHandler)
		case "stall":
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
				continue
			}
		case "crawl":
			p = p[:min(len(p), 5<<10)]
			time.Sleep(100 * time.Millisecond)
		}
		s.wait(int64(len(p)))
		if _, err := w.Write(p); err != nil {
			return
		}
		s.bytes.Add(int64(len(p)))
		off += int64(len(p))
	}
}

// wait takes a turn of n bytes.
func (s *stub) wait(n int64) {
	if s.rate == 0 {
		return
	}
	s.mu.Lock()
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	s.next = s.next.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
	turn := s.next
	s.mu.Unlock()
	time.Sleep(time.Until(turn))
}

// span reads FROM-TO or FROM-.
func span(spec string, size int64) (from, to int64, err error) {
	first, last, _ := strings.Cut(spec, "-")
	if from, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, 0, err
	}
	to = size - 1
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	to = min(to, size-1)
	if from < 0 || from > to {
		return 0, 0, errors.New("unsatisfiable")
	}
	return from, to, nil
}
