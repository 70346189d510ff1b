package admin

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	liveEvery  = time.Second      // all changes of that time are one message for each region
	liveTime   = 10 * time.Minute // then the browser comes again, and is asked again who it is
	maxStreams = 32
)

// live is the handler of a page's changes: server-sent events, named for a region,
// with its HTML. A region that is as it was is not sent.
func (p *pages) live(k kind) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.streams <- struct{}{}:
			defer func() { <-p.streams }()
		default:
			writeError(w, &exchange.Error{Status: http.StatusServiceUnavailable, Message: "too many pages are open"})
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if r.Method == http.MethodHead {
			return // nothing of it would be sent
		}
		w.Header().Set("X-Accel-Buffering", "no") // of an nginx in front
		s := &stream{pages: p, kind: k, to: http.NewResponseController(w), w: w, sent: map[string]uint64{}, seed: maphash.MakeSeed()}
		s.run(r)
	})
}

// A stream is one of those that are open.
type stream struct {
	*pages
	kind
	w    http.ResponseWriter
	to   *http.ResponseController
	seed maphash.Seed
	sent map[string]uint64 // what each region is, as the browser has it
}

func (s *stream) run(r *http.Request) {
	tick, end := time.NewTicker(liveEvery), time.NewTimer(liveTime)
	defer tick.Stop()
	defer end.Stop()
	defer s.to.SetWriteDeadline(time.Time{}) // the connection may be used again
	if _, err := fmt.Fprintf(s.w, "retry: 2000\n\n"); err != nil {
		return
	}
	for {
		if err := s.tell(r); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// tell sends the regions that have changed. An error is the end of the stream.
func (s *stream) tell(r *http.Request) error {
	v, err := s.view(r)
	if err != nil {
		return err
	}
	var region, all bytes.Buffer
	for _, name := range s.regions {
		region.Reset()
		if err := s.templates.ExecuteTemplate(&region, name, v); err != nil {
			return err
		}
		sum := maphash.Bytes(s.seed, region.Bytes())
		if s.sent[name] == sum {
			continue
		}
		s.sent[name] = sum
		fmt.Fprintf(&all, "event: %s\n", name)
		for line := range strings.SplitSeq(region.String(), "\n") {
			if line = strings.TrimSpace(line); line != "" {
				fmt.Fprintf(&all, "data: %s\n", line)
			}
		}
		all.WriteByte('\n')
	}
	if all.Len() == 0 {
		all.WriteString(": as it was\n\n") // finds out that nobody listens
	}
	_ = s.to.SetWriteDeadline(time.Now().Add(10 * liveEvery)) // a browser that does not read holds this up, and not for ever
	if _, err := s.w.Write(all.Bytes()); err != nil {
		return err
	}
	return s.to.Flush()
}
