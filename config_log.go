package cacheproxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
)

// A Logger is a logger whose level and file follow the configuration.
type Logger struct {
	*slog.Logger
	Level *slog.LevelVar // for [Options.Level]

	config *Config // that it was made from
	stderr io.Writer
	flush  func(context.Context)

	mu      sync.Mutex
	file    *os.File // nil: stderr; guarded by mu
	waiting []byte   // lines that are not yet in file; guarded by mu
}

// Lines below warn reach a file together: not later than logDelay, and not more
// than logRoom bytes of them. A system call for each would cost more than most of
// the answers that they are about.
const (
	logDelay = time.Second
	logRoom  = 64 << 10
)

// NewLogger makes the logger that c asks for: to stderr, or appended to the file it
// names, and errors to Sentry too. version is the release in reports. Close ends it.
func (c *Config) NewLogger(stderr io.Writer, version string) (*Logger, error) {
	l := &Logger{Level: new(slog.LevelVar), config: c, stderr: stderr, flush: func(context.Context) {}}
	l.Level.Set(slog.Level(c.Log.Level))
	options := &slog.HandlerOptions{Level: l.Level, ReplaceAttr: levelNames}
	var h slog.Handler = slog.NewTextHandler(logWriter{l}, options)
	if c.Log.Format == LogJSON {
		h = slog.NewJSONHandler(logWriter{l}, options)
	}
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
	l.Logger = slog.New(punctual{h, l})
	return l, nil
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
		l.write()
		if l.file != nil {
			l.file.Close()
		}
		l.file = f
	}, nil
}

// Close sends what is still to be reported, within a few seconds, and closes the file.
func (l *Logger) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	l.flush(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// write puts what waits into the file, where errors have no other place to go to.
// Callers hold mu.
func (l *Logger) write() {
	if len(l.waiting) > 0 && l.file != nil {
		_, _ = l.file.Write(l.waiting)
	}
	l.waiting = l.waiting[:0]
}

// punctual is a handler whose records from warn on do not wait in memory.
type punctual struct {
	slog.Handler
	l *Logger
}

func (h punctual) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.l.mu.Lock()
		defer h.l.mu.Unlock()
		h.l.write()
	}
	return err
}

func (h punctual) WithAttrs(attrs []slog.Attr) slog.Handler {
	return punctual{h.Handler.WithAttrs(attrs), h.l}
}
func (h punctual) WithGroup(name string) slog.Handler {
	return punctual{h.Handler.WithGroup(name), h.l}
}

// logWriter writes to where the log goes now.
type logWriter struct{ *Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return w.stderr.Write(p)
	}
	if len(w.waiting) == 0 {
		time.AfterFunc(logDelay, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.write()
		})
	}
	if w.waiting = append(w.waiting, p...); len(w.waiting) >= logRoom {
		w.write()
	}
	return len(p), nil
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
