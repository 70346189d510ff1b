package observe

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Recent keeps the newest records of a log that are warnings or errors, so many
// of them and not more. It is safe for concurrent use.
type Recent struct {
	mu   sync.Mutex
	ring []Record // guarded by mu
	next int      // guarded by mu; where the next one goes
}

// A Record is a line of the log.
type Record struct {
	Time       time.Time         `json:"time"`
	Level      string            `json:"level"`
	Message    string            `json:"message"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Bounds of what one record may have.
const (
	maxAttributes = 32
	maxAttribute  = 1 << 10 // bytes; the stack of a panic is cut
)

// NewRecent keeps n records.
func NewRecent(n int) *Recent { return &Recent{ring: make([]Record, 0, n)} }

// Records are those that are kept, the newest first.
func (r *Recent) Records() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(r.ring[r.next:]), r.ring[:r.next]...)
	slices.Reverse(all)
	return all
}

// Wrap is a handler that keeps records, and passes every one on to h.
func (r *Recent) Wrap(h slog.Handler) slog.Handler { return &recentHandler{Handler: h, recent: r} }

// recentHandler is a handler in front of another. Immutable.
type recentHandler struct {
	slog.Handler
	recent *Recent
	attrs  []slog.Attr // of WithAttrs, their keys with the groups around them
	prefix string      // the groups of WithGroup, each with a dot behind it
}

func (h *recentHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.Handler.Enabled(ctx, level)
}

func (h *recentHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.recent.add(h.record(r))
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *recentHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.Handler = h.Handler.WithAttrs(attrs)
	c.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

func (h *recentHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.Handler = h.Handler.WithGroup(name)
	c.prefix = h.prefix + name + "."
	return &c
}

func (h *recentHandler) record(r slog.Record) Record {
	kept := Record{Time: r.Time, Level: strings.ToLower(r.Level.String()), Message: r.Message, Attributes: map[string]string{}}
	add := func(key string, v slog.Value) {
		if len(kept.Attributes) >= maxAttributes {
			return
		}
		text := v.Resolve().String()
		if len(text) > maxAttribute {
			text = strings.ToValidUTF8(text[:maxAttribute], "") + "…"
		}
		kept.Attributes[key] = text
	}
	for _, a := range h.attrs {
		add(a.Key, a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		add(h.prefix+a.Key, a.Value)
		return true
	})
	return kept
}

func (r *Recent) add(one Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case cap(r.ring) == 0:
	case len(r.ring) < cap(r.ring):
		r.ring = append(r.ring, one)
	default:
		r.ring[r.next] = one
		r.next = (r.next + 1) % len(r.ring)
	}
}
