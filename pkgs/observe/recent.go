package observe

import (
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
func (r *Recent) Wrap(h slog.Handler) slog.Handler {
	return &tap{Handler: h, level: slog.LevelWarn, take: func(line slog.Record, attributes each) { r.add(record(line, attributes)) }}
}

func record(r slog.Record, attributes each) Record {
	kept := Record{Time: r.Time, Level: strings.ToLower(r.Level.String()), Message: r.Message, Attributes: map[string]string{}}
	for key, v := range attributes {
		if len(kept.Attributes) >= maxAttributes {
			break
		}
		text := v.Resolve().String()
		if len(text) > maxAttribute {
			text = strings.ToValidUTF8(text[:maxAttribute], "") + "…"
		}
		kept.Attributes[key] = text
	}
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
