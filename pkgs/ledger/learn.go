package ledger

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Bounds of runs.
const (
	maxBusy   = 4         // indexes that are read at once
	maxQueued = 1000      // and those that wait for it
	maxTeach  = 2_000_000 // facts of one index
	maxFailed = 1000      // failures that are remembered
	pause     = time.Minute
)

// A cover is an index that is being read.
type cover struct {
	hub, prefix string
	index       exchange.Key  // of the index itself; zero if unknown
	done        chan struct{} // closed at the end
}

// Learning says that an index is being read which may teach keys of hub whose
// path begins with prefix, until done is called.
func (l *Ledger) Learning(hub, prefix string) (done func()) {
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.coverLocked(&cover{hub: hub, prefix: prefix})
}

func (l *Ledger) coverLocked(c *cover) (done func()) {
	c.done = make(chan struct{})
	l.covers[c] = struct{}{}
	l.reading.Store(int32(len(l.covers)))
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, ok := l.covers[c]; ok {
			delete(l.covers, c)
			l.reading.Store(int32(len(l.covers)))
			close(c.done)
		}
	}
}

// covering is the end of an index that may teach key; nil if none is being read.
// An index does not wait for itself.
func (l *Ledger) covering(key exchange.Key) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.covers {
		if c.hub == key.Hub && strings.HasPrefix(key.Path, c.prefix) && c.index != key {
			return c.done
		}
	}
	return nil
}

// learner marks the context of a run: what it asks for must not wait for runs,
// which may be behind it in the queue.
type learner struct{}

// await looks a key up as long as indexes that cover it are being read.
func (l *Ledger) await(ctx context.Context, key exchange.Key, h hash) (exchange.Fact, bool) {
	if ctx.Value(learner{}) != nil {
		return exchange.Fact{}, false
	}
	var timeout <-chan time.Time
	for {
		done := l.covering(key)
		if done != nil && timeout == nil {
			t := time.NewTimer(l.wait)
			defer t.Stop()
			timeout = t.C
		}
		over := done == nil
		if !over {
			select {
			case <-done:
			case <-timeout:
				over = true
			case <-ctx.Done():
				over = true
			}
		}
		if r, ok := l.ring.get(h); ok {
			return r.fact(), true
		}
		if over {
			return exchange.Fact{}, false
		}
	}
}

// Learn reads the index that entry describes, once, behind the client: on a
// goroutine of its own it asks next for req again (a hit, or the flight that the
// client follows too) and gives the content to parse, which calls teach for
// every path of req's hub that the index speaks of. teach is not to be called
// after parse has returned. From this call on until the index has been read,
// [Ledger.Lookup] of paths that begin with prefix waits as for [Ledger.Learning].
//
// An index that was learned is not read again, not after a restart either, as
// long as what it taught is remembered. It is known by its digest; by its
// validators and time as long as it has none. One that could not be read or
// parsed is left alone for a minute. Errors go to the log; parse may panic.
//
// The entry of a response that must not be stored is not to be learned. A run
// follows the flight of its index to the end, also when the client has left.
//
// BUG: after a power failure a mark may be on disk where facts before it are
// not: they stay unknown until the mark is old, or the index another one.
func (l *Ledger) Learn(next exchange.Source, req *exchange.Request, entry *exchange.Entry, prefix string, parse Parse) {
	l.learn(next, req, entry, prefix, parse, nil)
}

// A Parse reads an index and calls teach for every path that it speaks of.
type Parse = func(r io.Reader, teach func(path string, f exchange.Fact)) error

// learn begins a run, which attends the lesson, if any, before it reads itself.
// False: there is nothing to learn.
func (l *Ledger) learn(next exchange.Source, req *exchange.Request, entry *exchange.Entry, prefix string, parse Parse, s *Lesson) bool {
	if l == nil || entry.Status != http.StatusOK {
		return false
	}
	ids := identities(req, entry)
	if l.learned(ids) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.queued >= maxQueued || l.claimedLocked(ids) {
		return false
	}
	l.queued++
	for _, id := range ids {
		l.running[id] = struct{}{}
	}
	uncover := l.coverLocked(&cover{hub: req.Key.Hub, prefix: prefix, index: req.Key})
	l.wg.Go(func() {
		var err error
		if s != nil && l.attend(s, req.Key.Hub) {
			l.mark(ids)
		} else {
			err = l.run(next, req, parse)
		}
		l.mu.Lock()
		l.queued--
		for _, id := range ids {
			delete(l.running, id)
			if err != nil && l.ctx.Err() == nil {
				l.failLocked(id)
			}
		}
		l.mu.Unlock()
		uncover()
		switch {
		case err == nil:
		case l.ctx.Err() != nil:
			l.log.Debug("index not learned", "hub", req.Key.Hub, "key", req.Key.String(), "err", err)
		default:
			l.log.Warn("index not learned", "hub", req.Key.Hub, "key", req.Key.String(), "err", err)
		}
	})
	return true
}

// learned says whether the index was learned under one of its identities, and
// then marks the others.
func (l *Ledger) learned(ids []hash) bool {
	known := 0
	for _, id := range ids {
		if l.ring.fresh(id) {
			known++
		}
	}
	if known > 0 && known < len(ids) {
		l.mark(ids)
	}
	return known > 0
}

func (l *Ledger) mark(ids []hash) {
	for _, id := range ids {
		l.ring.put(record{hash: id, kind: kindMark})
	}
	l.ring.flush()
}

// claimedLocked says whether the index is being read, or failed a moment ago.
func (l *Ledger) claimedLocked(ids []hash) bool {
	for _, id := range ids {
		if _, ok := l.running[id]; ok {
			return true
		}
		if at, ok := l.failed[id]; ok && l.now().Sub(at) < pause {
			return true
		}
	}
	return false
}

func (l *Ledger) failLocked(id hash) {
	if len(l.failed) >= maxFailed {
		clear(l.failed)
	}
	l.failed[id] = l.now()
}

// identities are by what an index is known: its validators and time, and its
// digest where it has one.
func identities(req *exchange.Request, e *exchange.Entry) []hash {
	at := e.Stored // not moved by a validation
	if at.IsZero() {
		at = e.Received
	}
	k := req.Key
	ids := []hash{hashOf(domainIndex, k.Hub, k.Path, k.Variant, "at", at.UTC().Format(time.RFC3339Nano),
		e.Header.Get("ETag"), e.Header.Get("Last-Modified"))}
	if e.Digest != "" {
		ids = append(ids, hashOf(domainIndex, k.Hub, k.Path, k.Variant, "is", string(e.Digest)))
	}
	return ids
}

// run learns one index.
func (l *Ledger) run(next exchange.Source, req *exchange.Request, parse Parse) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		l.ring.flush()
	}()
	ctx := context.WithValue(l.ctx, learner{}, true)
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	resp, err := index(ctx, next, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	taught := 0
	err = parse(resp.Body, func(path string, f exchange.Fact) {
		if taught < maxTeach && ctx.Err() == nil {
			taught++
			l.teach(exchange.Key{Hub: req.Key.Hub, Path: path}, f)
		}
	})
	if err != nil {
		return err
	}
	// The end is where content is found wrong or cut, and may be behind the
	// end of what parse wants.
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	l.mark(identities(req, resp.Entry))
	return ctx.Err()
}

// index asks for the index. Where its digest is known beforehand it may yet be
// found wrong, and what it taught could not be taken back: then it is awaited.
func index(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	r := *req
	r.Head, r.Validate = false, nil
	for again := false; ; again = true {
		resp, err := next.Get(ctx, &r)
		if err != nil {
			return nil, err
		}
		if resp.Entry.Status != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("status %d", resp.Entry.Status)
		}
		if again || r.Digest == "" || resp.Entry.Digest != "" {
			return resp, nil
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
	}
}
