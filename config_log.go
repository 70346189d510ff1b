package cacheproxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
)

// NewLogger makes the logger that c asks for: to stderr, or appended to the file it
// names, and errors to Sentry too. version is the release in reports. Close sends
// what is still to be reported, within a few seconds, and closes the file.
func (c *Config) NewLogger(stderr io.Writer, version string) (log *slog.Logger, closeLog func(), err error) {
	out, done := stderr, func() {}
	if c.Log.File != "" {
		f, err := os.OpenFile(c.Log.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("log.file: %w", err)
		}
		out, done = f, func() { f.Close() }
	}
	options := &slog.HandlerOptions{Level: slog.Level(c.Log.Level), ReplaceAttr: levelNames}
	var h slog.Handler = slog.NewTextHandler(out, options)
	if c.Log.Format == LogJSON {
		h = slog.NewJSONHandler(out, options)
	}
	if dsn := c.Sentry.DSN.Value(); dsn != "" {
		wrap, flush, err := observe.Sentry(dsn, version)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("sentry.dsn: %w", err)
		}
		h = wrap(h)
		closeFile := done
		done = func() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			flush(ctx)
			closeFile()
		}
	}
	return slog.New(h), done, nil
}

// levelNames gives trace its name: slog would call it DEBUG-4.
func levelNames(groups []string, a slog.Attr) slog.Attr {
	if level, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey && level == LevelTrace {
		a.Value = slog.StringValue("TRACE")
	}
	return a
}
