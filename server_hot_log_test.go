package cacheproxy

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

var formats = []LogFormat{LogText, LogJSON}

// sameLine compares the line of a with what the log's handler writes.
func sameLine(t *testing.T, l *Logger, attrs []slog.Attr, a *front.Answer, now time.Time) {
	t.Helper()
	var want bytes.Buffer
	slow := slog.New(l.handler(&want).WithAttrs(attrs))
	logAnswer(slow, a, now)
	h := l.newHotLine(slow, attrs, a.Outcome)
	if !bare(a.Client) {
		return // which is logged slowly
	}
	have := h.appendText(nil, a, now)
	if h.json {
		have = h.appendJSON(nil, a, now)
	}
	assert.Equal(t, want.String(), string(have))
}

func newTestLogger(t testing.TB, format LogFormat, to io.Writer) *Logger {
	t.Helper()
	c, _ := must(t, "log: {format: "+string(format)+"}")
	l, err := c.NewLogger(to, "v1")
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

// The line of an answer from memory is the handler's, whatever the answer.
func TestHotLines(t *testing.T) {
	for i := range 4 {
		format, zone := formats[i%2], []*time.Location{time.UTC, time.FixedZone("", 3600)}[i/2]
		now := time.Date(2026, 3, 29, 1, 59, 58, 999_999_999, zone)
		l := newTestLogger(t, format, io.Discard)
		for range 2000 {
			a := &front.Answer{
				Client: "192.0.2.1:1234", RequestID: []byte("3sjal1o1egob0"), Head: rand.N(2) == 0, Complete: rand.N(2) == 0, Bytes: rand.Int64N(1 << rand.N(62)),
				Outcome: exchange.Outcome{Hit: true, HasTTL: rand.N(2) == 0, TTL: time.Duration(rand.Int64N(1 << rand.N(62)))},
			}
			if rand.N(4) == 0 {
				a.Outcome.Detail = "negative"
			}
			if rand.N(2) == 0 {
				a.Client = "[2001:db8::1%eth0]:1"
			}
			if now = now.Add(time.Duration(rand.Int64N(1 << rand.N(40)))); rand.N(4) == 0 {
				now = now.Truncate(time.Duration([]int64{1e3, 1e6, 1e8, 1e9}[rand.N(4)]))
			}
			a.Started = now.Add(-time.Duration(rand.Int64N(1 << rand.N(45))))
			sameLine(t, l, []slog.Attr{slog.String("path", "/x"), slog.Int("status", 200)}, a, now)
		}
	}
}

func FuzzHotLines(f *testing.F) {
	f.Add("/a b}", "https://mirrors.example.org", "192.0.2.1:1", int64(1), int64(2), int64(3))
	f.Add("/\x00\u2028\xff\"\\<>&={}", "; ttl=0", "\x1b[31m", int64(1<<60), int64(time.Millisecond), int64(-1))
	f.Add("", "", "", int64(0), int64(0), int64(0))
	loggers := []*Logger{newTestLogger(f, LogText, io.Discard), newTestLogger(f, LogJSON, io.Discard)}
	f.Fuzz(func(t *testing.T, path, upstream, client string, nanos, took, ttl int64) {
		now := time.Unix(nanos>>30, nanos&(1<<30-1)%1e9).UTC()
		a := &front.Answer{Client: client, RequestID: []byte("id"), Bytes: took, Started: now.Add(-time.Duration(took)), Outcome: exchange.Outcome{Hit: true, HasTTL: true, TTL: time.Duration(ttl)}}
		for _, l := range loggers {
			sameLine(t, l, []slog.Attr{slog.String("path", path), slog.String("upstream", upstream)}, a, now)
		}
	})
}

// Level and oddities, through the door.
func TestHotLineIsLogged(t *testing.T) {
	for _, format := range formats {
		var out bytes.Buffer
		l := newTestLogger(t, format, &out)
		h := l.newHotLine(l.Logger, nil, exchange.Outcome{Hit: true})
		h.log(&front.Answer{Client: "192.0.2.1:1", Started: time.Now()})
		h.log(&front.Answer{Client: "a\nb", Started: time.Now()})
		l.Level.Set(slog.LevelWarn)
		h.log(&front.Answer{Client: "192.0.2.1:1", Started: time.Now()})
		l.Close()
		assert.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
		assert.Contains(t, out.String(), `a\nb`)
	}
}

// A part of the content has its own status in the log.
func TestHotLineOfParts(t *testing.T) {
	for _, format := range formats {
		var out bytes.Buffer
		l := newTestLogger(t, format, &out)
		h := &hot{access: true, lines: l, log: l.Logger, attrs: []slog.Attr{slog.String("handler", "GET /"), slog.Int("status", 200)}}
		log := h.line(httptest.NewRequest("GET", "/x", nil), &exchange.Response{Entry: &exchange.Entry{}, Outcome: exchange.Outcome{Hit: true}})
		for _, status := range []int{206, 200} {
			log(&front.Answer{Status: status, Client: "192.0.2.1:1", Started: time.Now()})
		}
		l.Close()
		parts, whole, _ := strings.Cut(out.String(), "\n")
		assert.Regexp(t, `status"?[=:]206`, parts)
		assert.Regexp(t, `status"?[=:]200`, whole)
	}
}

func BenchmarkHotLine(b *testing.B) {
	for _, format := range formats {
		l := newTestLogger(b, format, new(discard))
		a := &front.Answer{Client: "192.0.2.1:1234", RequestID: []byte("3sjal1o1egob0"), Bytes: 1024, Complete: true, Started: time.Now(), Outcome: exchange.Outcome{Hit: true, HasTTL: true, TTL: time.Hour}}
		attrs := []slog.Attr{slog.String("path", "/debian/pool/main/x/x.deb"), slog.String("upstream", "https://mirrors.example.org")}
		h := l.newHotLine(l.Logger, attrs, a.Outcome)
		b.Run(string(format)+"/line", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.log(a)
			}
		})
		slow := slog.New(l.Handler().WithAttrs(attrs))
		b.Run(string(format)+"/record", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				logAnswer(slow, a, time.Now())
			}
		})
	}
}
