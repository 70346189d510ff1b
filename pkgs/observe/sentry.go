package observe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/getsentry/sentry-go"
)

// Sentry reports log records of level error to the project of dsn as events of
// the given release. wrap makes a handler that does so and passes every record on
// to the one it is given; flush waits until what was reported is sent, or ctx is
// done, and ends the reporting. An empty dsn reports nothing.
//
// An event has the record's message, its attributes, and the stack of the
// goroutine that logged it: in a deferred call during a panic, that of the panic.
// Nothing else goes out, neither the host's name nor the list of modules.
func Sentry(dsn, release string) (wrap func(slog.Handler) slog.Handler, flush func(ctx context.Context), err error) {
	if dsn == "" {
		return func(h slog.Handler) slog.Handler { return h }, func(context.Context) {}, nil
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn:            dsn,
		Release:        release,
		Environment:    "production",
		ServerName:     "cache-proxy", // else the host's name
		MaxBreadcrumbs: -1,
		Integrations:   func([]sentry.Integration) []sentry.Integration { return nil },
	})
	if err != nil {
		return nil, nil, fmt.Errorf("sentry: %w", err)
	}
	wrap = func(h slog.Handler) slog.Handler {
		return &tap{Handler: h, level: slog.LevelError, take: func(r slog.Record, attributes each) {
			client.CaptureEvent(event(r, attributes), nil, nil)
		}}
	}
	flush = func(ctx context.Context) {
		client.FlushWithContext(ctx)
		client.Close()
	}
	return wrap, flush, nil
}

func event(r slog.Record, attributes each) *sentry.Event {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Timestamp = r.Time
	e.Message = r.Message
	said := sentry.Context{}
	cause := ""
	for key, v := range attributes {
		text := v.Resolve().String()
		switch key[strings.LastIndexByte(key, '.')+1:] {
		case "stack": // said by the frames
			continue
		case "err", "error", "panic":
			cause = text
		}
		said[key] = text
	}
	e.Contexts["attributes"] = said
	e.Exception = []sentry.Exception{{Type: r.Message, Value: cause, Stacktrace: stack()}}
	return e
}

// stack is that of the caller, without the frames of logging itself.
func stack() *sentry.Stacktrace {
	s := sentry.NewStacktrace()
	if s == nil {
		return nil
	}
	s.Frames = slices.DeleteFunc(s.Frames, func(f sentry.Frame) bool {
		return f.Module == "log/slog" || strings.HasSuffix(f.Module, "/pkgs/observe") && !strings.HasSuffix(f.AbsPath, "_test.go")
	})
	return s
}
