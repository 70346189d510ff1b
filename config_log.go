package cacheproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
)

// A Logger is a logger whose level and file follow the configuration. Lines wait in
// memory for up to a tenth of a second, and are lost if the process is killed
// meanwhile; those from warn on do not wait, nor does what was logged before them.
// Where the log goes to a pipe or file system that takes nothing for a second,
// lines are dropped rather than that requests wait: [Logger.Dropped].
type Logger struct {
	*slog.Logger
	Level *slog.LevelVar // for [Options.Level]

	config *Config // that it was made from
	stderr io.Writer
	lines  *lines
	clock  clock
	flush  func(context.Context) // of what is reported

	mu   sync.Mutex
	file *os.File // nil: stderr; guarded by mu
}

// NewLogger makes the logger that c asks for: to stderr, or appended to the file it
// names, and errors to Sentry too. version is the release in reports. Close ends it.
func (c *Config) NewLogger(stderr io.Writer, version string) (*Logger, error) {
	l := &Logger{Level: new(slog.LevelVar), config: c, stderr: stderr, flush: func(context.Context) {}}
	l.Level.Set(slog.Level(c.Log.Level))
	l.lines = newLines(stderr, l.dropped)
	h := l.handler(l.lines)
	if dsn := c.Sentry.DSN.Value(); dsn != "" {
		wrap, flush, err := observe.Sentry(dsn, version)
		if err != nil {
			return nil, fmt.Errorf("sentry.dsn: %w", err)
		}
		h, l.flush = wrap(h), flush
	}
	commit, err := l.Prepare(c)
	if err != nil {
		return nil, err
	}
	commit()
	l.Logger = slog.New(punctual{h, l.lines})
	return l, nil
}

// handler writes records to w as the configuration has it.
func (l *Logger) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: l.Level, ReplaceAttr: levelNames}
	if l.config.Log.Format == LogJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// dropped is the line that says how many were dropped.
func (l *Logger) dropped(n int64) []byte {
	var b bytes.Buffer
	record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped", 0)
	record.AddAttrs(slog.Int64("lines", n))
	_ = l.handler(&b).Handle(context.Background(), record) // at any level
	return b.Bytes()
}

// Dropped is how many lines there was no room for, or that could not be written.
// Of a nil Logger it is none.
func (l *Logger) Dropped() int64 {
	if l == nil {
		return 0
	}
	return l.lines.lost()
}

// Prepare opens the file that c names, once more if it is the one in use, which
// may have been renamed. It is for [Options.Prepare].
func (l *Logger) Prepare(c *Config) (commit func(), err error) {
	if c.Log.Format != l.config.Log.Format {
		return nil, c.Problem("log.format", unchanging)
	}
	if c.Sentry.DSN.Value() != l.config.Sentry.DSN.Value() {
		return nil, c.Problem("sentry.dsn", unchanging)
	}
	var f *os.File
	if c.Log.File != "" {
		if f, err = os.OpenFile(c.Log.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640); err != nil {
			return nil, c.Problem("log.file", err.Error())
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if f != nil {
			l.lines.to(f)
		} else {
			l.lines.to(l.stderr)
		}
		if l.file != nil {
			l.file.Close()
		}
		l.file = f
	}, nil
}

// Close sends what is still to be reported, within a few seconds, writes what waits,
// and closes the file.
func (l *Logger) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	l.flush(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines.to(l.stderr)
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// punctual is a handler whose records from warn on do not wait in memory.
type punctual struct {
	slog.Handler
	lines *lines
}

func (h punctual) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.lines.flush()
	}
	return err
}

func (h punctual) WithAttrs(attrs []slog.Attr) slog.Handler {
	return punctual{h.Handler.WithAttrs(attrs), h.lines}
}
func (h punctual) WithGroup(name string) slog.Handler {
	return punctual{h.Handler.WithGroup(name), h.lines}
}

// levelNames gives trace its name: slog would call it DEBUG-4.
func levelNames(groups []string, a slog.Attr) slog.Attr {
	if a.Key != slog.LevelKey || len(groups) > 0 { // most attributes
		return a
	}
	if level, ok := a.Value.Any().(slog.Level); ok && level == LevelTrace {
		a.Value = slog.StringValue("TRACE")
	}
	return a
}
