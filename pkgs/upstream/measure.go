package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Measurement is what one mirror did when it was asked for one path.
type Measurement struct {
	Mirror  string        `json:"mirror"`
	Path    string        `json:"path"`
	Status  int           `json:"status,omitempty"`
	Connect time.Duration `json:"connect"`         // to a new connection, TLS included; 0: it was there already
	First   time.Duration `json:"first"`           // from request to the first byte of the body, connecting not included
	Took    time.Duration `json:"took"`            // from there to the last byte that was asked for
	Bytes   int64         `json:"bytes"`           // of the body, after the first read
	Rate    float64       `json:"rate"`            // bytes a second of them; 0: too few to tell
	Error   string        `json:"error,omitempty"` // what went wrong; "" is nothing
}

const (
	rateBytes   = 64 << 10 // fewer say nothing of a rate
	measureTime = 30 * time.Second
)

// Measure asks every mirror in turn for at most size bytes of each path, below
// the mount and escaped, one connection a mirror. read hears of the bytes of
// bodies as they come; done of each result, where a mirror that does not have a
// path has none. It does not touch the mirrors' records, and ends early with ctx.
func (g *Group) Measure(ctx context.Context, paths []string, size int64, read func(n int), done func(Measurement)) error {
	for _, m := range g.mirrors {
		for _, path := range paths {
			canonical, _, _ := strings.Cut(path, "?")
			u := m.locate(canonical, canonical, "")
			if u == nil {
				continue
			}
			req := &exchange.Request{Key: exchange.Key{Hub: g.options.Hub, Path: canonical}, Target: canonical,
				Header: http.Header{"Range": {fmt.Sprintf("bytes=0-%d", size-1)}}}
			l := Measurement{Mirror: m.base, Path: canonical}
			if err := l.measure(ctx, m, req, candidate{mirror: m, url: u}, size, read); err != nil {
				l.Error = err.Error()
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			done(l)
		}
	}
	return nil
}

// measure asks once.
func (l *Measurement) measure(ctx context.Context, m *mirror, req *exchange.Request, c candidate, size int64, read func(int)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, measureTime, &timeoutError{"no end in time"})
	defer cancel()
	start := time.Now()
	res, err := m.ask(ctx, req, c.url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	l.Status, l.Connect = res.StatusCode, res.connecting
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPartialContent {
		io.CopyN(io.Discard, res.Body, maxLinger) // so that the connection stays
		return fmt.Errorf("status %d", res.StatusCode)
	}
	buf := make([]byte, 64<<10)
	n, err := res.Body.Read(buf)
	first := time.Now()
	l.First = first.Sub(start) - l.Connect
	read(n)
	for total := int64(n); err == nil && total < size; {
		n, err = res.Body.Read(buf[:min(int64(len(buf)), size-total)])
		total += int64(n)
		l.Bytes += int64(n)
		read(n)
	}
	l.Took = time.Since(first)
	if l.Bytes >= rateBytes && l.Took > 0 {
		l.Rate = float64(l.Bytes) / l.Took.Seconds()
	}
	if err == io.EOF || err == nil {
		return nil
	}
	return err
}
