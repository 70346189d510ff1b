package cacheproxy

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// finished is the message of the lines.
const finished = "request finished"

// A hotLine writes the line about an answer of one entry as the log's own handler
// would, byte for byte, but without a record: a line costs less than the answer
// then. It does not change.
type hotLine struct {
	to    *Logger
	slow  *slog.Logger // for what is not written here
	json  bool
	fixed []byte // what all lines have in common, behind the time
	cache []byte // the outcome, up to the number of its ttl, if it has one
	rest  []byte // behind that
	ttl   bool
}

// newHotLine is the line of answers of that outcome: what slow would write, which
// has attrs.
func (l *Logger) newHotLine(slow *slog.Logger, attrs []slog.Attr, outcome exchange.Outcome) *hotLine {
	h := &hotLine{to: l, slow: slow, json: l.config.Log.Format == LogJSON}
	outcome.TTL = 0
	h.fixed = l.render(attrs...)
	status := l.render(slog.String("cache", outcome.Word()), slog.String("cache_status", outcome.CacheStatus("cache-proxy")))
	h.cache = status[len(l.render()):]
	if h.ttl = outcome.HasTTL; h.ttl {
		const mark = "; ttl="
		i := bytes.LastIndex(h.cache, []byte(mark)) + len(mark)
		h.cache, h.rest = h.cache[:i], h.cache[i+len("0"):]
	}
	return h
}

// render is a line of attrs, without its time and its end.
func (l *Logger) render(attrs ...slog.Attr) []byte {
	var b bytes.Buffer
	_ = l.handler(&b).WithAttrs(attrs).Handle(context.Background(), slog.NewRecord(time.Time{}, slog.LevelInfo, finished, 0))
	line := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if l.config.Log.Format == LogJSON {
		line = line[1 : len(line)-1] // without its braces
	}
	return line
}

var hotLines = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// log writes the line of a.
func (h *hotLine) log(a *front.Answer) {
	if h.to.Level.Level() > slog.LevelInfo {
		return
	}
	now := time.Now()
	if !bare(a.Client) {
		logAnswer(h.slow, a, now)
		return
	}
	b := hotLines.Get().(*[]byte)
	if *b = (*b)[:0]; h.json {
		*b = h.appendJSON(*b, a, now)
	} else {
		*b = h.appendText(*b, a, now)
	}
	_, _ = h.to.lines.Write(*b)
	hotLines.Put(b)
}

func (h *hotLine) appendText(b []byte, a *front.Answer, now time.Time) []byte {
	b = append(b, "time="...)
	b = h.to.clock.appendMillis(b, now)
	b = append(b, ' ')
	b = append(b, h.fixed...)
	b = append(b, " method="...)
	b = append(b, method(a)...)
	b = append(b, " bytes="...)
	b = strconv.AppendInt(b, a.Bytes, 10)
	b = append(b, " duration="...)
	b = appendDuration(b, now.Sub(a.Started))
	b = h.appendCache(b, a)
	b = append(b, " client="...)
	b = append(b, a.Client...)
	b = append(b, " request_id="...)
	b = append(b, a.RequestID...)
	if !a.Complete {
		b = append(b, " aborted=true"...)
	}
	return append(b, '\n')
}

func (h *hotLine) appendJSON(b []byte, a *front.Answer, now time.Time) []byte {
	b = append(b, `{"time":"`...)
	b = h.to.clock.appendNanos(b, now)
	b = append(b, `",`...)
	b = append(b, h.fixed...)
	b = append(b, `,"method":"`...)
	b = append(b, method(a)...)
	b = append(b, `","bytes":`...)
	b = strconv.AppendInt(b, a.Bytes, 10)
	b = append(b, `,"duration":`...)
	b = strconv.AppendInt(b, int64(now.Sub(a.Started)), 10)
	b = h.appendCache(b, a)
	b = append(b, `,"client":"`...)
	b = append(b, a.Client...)
	b = append(b, `","request_id":"`...)
	b = append(b, a.RequestID...)
	b = append(b, '"')
	if !a.Complete {
		b = append(b, `,"aborted":true`...)
	}
	return append(b, "}\n"...)
}

func (h *hotLine) appendCache(b []byte, a *front.Answer) []byte {
	b = append(b, h.cache...)
	if h.ttl {
		b = strconv.AppendInt(b, int64(a.Outcome.TTL/time.Second), 10)
		b = append(b, h.rest...)
	}
	return b
}

// logAnswer is the line of a where log is not one of ours, or a is out of the ordinary.
func logAnswer(log *slog.Logger, a *front.Answer, now time.Time) {
	attrs := append(make([]slog.Attr, 0, 8),
		slog.String("method", method(a)), slog.Int64("bytes", a.Bytes), slog.Duration("duration", now.Sub(a.Started)),
		slog.String("cache", a.Outcome.Word()), slog.String("cache_status", a.Outcome.CacheStatus("cache-proxy")),
		slog.String("client", a.Client), slog.String("request_id", string(a.RequestID)))
	if !a.Complete {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if ctx := context.Background(); log.Enabled(ctx, slog.LevelInfo) {
		record := slog.NewRecord(now, slog.LevelInfo, finished, 0)
		record.AddAttrs(attrs...)
		_ = log.Handler().Handle(ctx, record)
	}
}

func method(a *front.Answer) string {
	if a.Head {
		return http.MethodHead
	}
	return http.MethodGet
}

// bare says whether s stands in a line of either format as it is.
func bare(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"\=<>&`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// A second is the time of the current one, up to its seconds, and the zone.
type second struct {
	unix       int64
	text, zone string
}

// A clock writes times of now, of whose text little changes. The zero value is ready.
type clock struct{ last atomic.Pointer[second] }

func (c *clock) at(now time.Time) *second {
	s := c.last.Load()
	if unix := now.Unix(); s == nil || s.unix != unix {
		s = &second{unix, now.Format("2006-01-02T15:04:05"), now.Format("Z07:00")}
		c.last.Store(s)
	}
	return s
}

// appendMillis is how text lines have it.
func (c *clock) appendMillis(b []byte, now time.Time) []byte {
	s := c.at(now)
	b = append(b, s.text...)
	ms := now.Nanosecond() / 1e6
	b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(b, s.zone...)
}

// appendNanos is [time.RFC3339Nano].
func (c *clock) appendNanos(b []byte, now time.Time) []byte {
	s := c.at(now)
	b = append(b, s.text...)
	if n := now.Nanosecond(); n > 0 {
		b = append(b, '.')
		for unit := int(1e8); n > 0; unit /= 10 {
			b = append(b, byte('0'+n/unit))
			n %= unit
		}
	}
	return append(b, s.zone...)
}

// appendDuration is d's String, without an allocation where that is short.
func appendDuration(b []byte, d time.Duration) []byte {
	unit, name := time.Millisecond, "ms"
	switch {
	case d < time.Microsecond || d >= time.Second:
		return append(b, d.String()...)
	case d < time.Millisecond:
		unit, name = time.Microsecond, "µs"
	}
	b = strconv.AppendInt(b, int64(d/unit), 10)
	if rest := d % unit; rest > 0 {
		b = append(b, '.')
		for unit /= 10; rest > 0; unit /= 10 {
			b = append(b, byte('0'+rest/unit))
			rest %= unit
		}
	}
	return append(b, name...)
}
