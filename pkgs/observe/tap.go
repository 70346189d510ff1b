package observe

import (
	"context"
	"iter"
	"log/slog"
	"slices"
)

// each are the attributes of a record, with the groups around a key before it.
type each = iter.Seq2[string, slog.Value]

// A tap is a handler in front of another that takes the records of a level and
// above, whether or not the one behind shows them. Immutable.
type tap struct {
	slog.Handler
	level  slog.Level
	take   func(r slog.Record, attributes each)
	attrs  []slog.Attr // of WithAttrs, their keys with the groups around them
	prefix string      // the groups of WithGroup, each with a dot behind it
}

func (t *tap) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= t.level || t.Handler.Enabled(ctx, level)
}

func (t *tap) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= t.level {
		t.take(r, t.attributes(r))
	}
	if !t.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

func (t *tap) attributes(r slog.Record) each {
	return func(yield func(string, slog.Value) bool) {
		for _, a := range t.attrs {
			if !yield(a.Key, a.Value) {
				return
			}
		}
		r.Attrs(func(a slog.Attr) bool { return yield(t.prefix+a.Key, a.Value) })
	}
}

func (t *tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *t
	c.Handler = t.Handler.WithAttrs(attrs)
	c.attrs = slices.Clip(t.attrs)
	for _, a := range attrs {
		a.Key = t.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

func (t *tap) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	c := *t
	c.Handler = t.Handler.WithGroup(name)
	c.prefix = t.prefix + name + "."
	return &c
}
