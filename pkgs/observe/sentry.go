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
	wrap = func(h slog.Handler) slog.Handler { return &sentryHandler{Handler: h, client: client} }
	flush = func(ctx context.Context) {
		client.FlushWithContext(ctx)
		client.Close()
	}
	return wrap, flush, nil
}

// sentryHandler is a handler in front of another. Immutable.
type sentryHandler struct {
	slog.Handler
	client *sentry.Client
	attrs  []slog.Attr // of WithAttrs, their keys with the groups around them
	prefix string      // the groups of WithGroup, each with a dot behind it
}

// Enabled reports errors even if the handler behind shows none.
func (h *sentryHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || h.Handler.Enabled(ctx, level)
}

func (h *sentryHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.client.CaptureEvent(h.event(r), nil, nil)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *sentryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.Handler = h.Handler.WithAttrs(attrs)
	c.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

func (h *sentryHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.Handler = h.Handler.WithGroup(name)
	c.prefix = h.prefix + name + "."
	return &c
}

func (h *sentryHandler) event(r slog.Record) *sentry.Event {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Timestamp = r.Time
	e.Message = r.Message
	attributes := sentry.Context{}
	cause := ""
	add := func(key string, v slog.Value) {
		text := v.Resolve().String()
		switch key[strings.LastIndexByte(key, '.')+1:] {
		case "stack": // said by the frames
			return
		case "err", "error", "panic":
			cause = text
		}
		attributes[key] = text
	}
	for _, a := range h.attrs {
		add(a.Key, a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		add(h.prefix+a.Key, a.Value)
		return true
	})
	e.Contexts["attributes"] = attributes
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
