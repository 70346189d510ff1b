package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// stripeBuffers are what a part has in memory.
var stripeBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// A lane is a mirror at work.
type lane struct {
	candidate
	rate  float64 // bytes a second, of late
	lives int
}

// run is a lane's life: as long as it has a mirror, and there is something to do.
func (s *stripe) run(l *lane, p *part) {
	for {
		if p == nil {
			p = s.claim(l)
		}
		if p == nil {
			return
		}
		err := s.fetch(p)
		p.stop()
		if !s.settle(p, err) {
			return
		}
		p = nil
	}
}

// claim waits for a part; nil when the transfer is over.
func (s *stripe) claim(l *lane) *part {
	for s.ctx.Err() == nil {
		wanted := s.wanted()
		s.mu.Lock()
		var p *part
		if s.only == nil || s.only == l {
			p = s.plan.claim(l, wanted, s.only == l, s.proved, time.Now())
		}
		moved := s.moved
		s.mu.Unlock()
		if p != nil {
			return p
		}
		select {
		case <-moved:
		case <-s.ctx.Done():
		}
	}
	return nil
}

// settle takes account of a part that has ended, and reports whether its lane goes on.
func (s *stripe) settle(p *part, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := p.lane
	stolen := p.at >= p.end
	s.plan.finish(p, time.Now())
	s.woken()
	if s.ctx.Err() != nil {
		return false
	}
	timeout := (*timeoutError)(nil)
	switch {
	case p.stalled:
		l.lives--
		l.mirror.lapsed(errStalled, Record.failed)
	case err == nil || stolen:
		return true
	case errors.Is(err, errOther) || errors.As(err, &timeout) || p.at == p.from:
		l.lives = 0
	default:
		l.lives--
	}
	if l.lives > 0 {
		return true
	}
	s.relay.group.options.Log.Info("mirror brings no more parts", slog.String("hub", s.relay.req.Key.Hub),
		slog.String("key", s.relay.req.Key.String()), slog.String("mirror", l.mirror.base), slog.Any("err", err))
	if s.only == l {
		s.only = nil
	}
	c, ok := s.next()
	if ok {
		*l = lane{candidate: c, lives: laneLives}
		return true
	}
	if s.lanes = slices.DeleteFunc(s.lanes, func(o *lane) bool { return o == l }); len(s.lanes) == 0 {
		s.err = errNobody
		if err != nil {
			s.err = fmt.Errorf("%w: %w", errNobody, err)
		}
		s.cancel()
	}
	return false
}

// open asks a lane's mirror for a part.
func (s *stripe) open(p *part) error {
	y, c := s.relay, p.lane.candidate
	rest := y.rest.part(p.from, p.end-p.from)
	r := &race{group: y.group, req: rest.request(y.req), rest: rest, mode: Adaptive, tiers: [][]candidate{{c}}, candidates: 1}
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	p.stop = cancel
	s.mu.Unlock()
	res, err := r.run(ctx)
	if err == nil && res.Entry.Status != http.StatusPartialContent {
		res.Body.Close()
		err = fmt.Errorf("%w: status %d", errOther, res.Entry.Status)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	p.leg, p.body, s.proved = r.winner, res.Body, true
	s.woken()
	s.mu.Unlock()
	return nil
}

// fetch brings a part, as far as it is not taken over.
func (s *stripe) fetch(p *part) error {
	if p.body == nil {
		if err := s.open(p); err != nil {
			return err
		}
	}
	defer p.body.Close()
	buf := stripeBuffers.Get().(*[]byte)
	defer stripeBuffers.Put(buf)
	for {
		s.mu.Lock()
		left := p.end - p.at
		s.mu.Unlock()
		if left <= 0 {
			if p.first && s.extend(p) {
				continue
			}
			return nil
		}
		n, err := p.body.Read((*buf)[:min(int64(len(*buf)), left)])
		s.mu.Lock()
		off := p.at
		n = int(min(int64(n), p.end-off)) // of which some may be taken over meanwhile
		p.advance(off+int64(n), time.Now())
		s.mu.Unlock()
		if n > 0 {
			s.relay.brought(p.lane.mirror, n)
			if werr := s.write((*buf)[:n], off); werr != nil {
				return werr
			}
		}
		if err != nil && int64(n) < left {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// write passes on what has come.
func (s *stripe) write(b []byte, off int64) error {
	_, err := s.w.WriteAt(b, off)
	if err == nil {
		s.arrived(off, int64(len(b)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got += int64(len(b))
	if err != nil && s.err == nil {
		s.err = err
	}
	if err != nil || s.got == s.plan.left {
		s.cancel()
	}
	return err
}

// extend lets the first body, which has no end of its own, go on where it is if
// nobody else has begun there. It waits until somebody else has parts at all.
func (s *stripe) extend(p *part) bool {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		ok, proved, moved := s.plan.extend(p), s.proved, s.moved
		s.mu.Unlock()
		if ok || proved {
			return ok
		}
		select {
		case <-moved:
		case <-s.ctx.Done():
		}
	}
	return false
}
