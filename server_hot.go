package cacheproxy

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// newTable is a table of ready answers as cfg has it; nil: there is none. Where the
// process has a limit of its memory (GOMEMLIMIT), which Go keeps only as far as there is
// something to collect, they take a quarter of that at most.
func (s *Server) newTable(cfg *Config) *front.Table {
	if cfg.Storage.Local.Memory == 0 {
		return nil
	}
	return front.NewTable(front.TableOptions{
		Epochs:       s.epochs,
		Memory:       min(int64(cfg.Storage.Local.Memory), debug.SetMemoryLimit(-1)/4),
		WriteTimeout: time.Duration(cfg.Limits.ClientWriteTimeout),
		MinRate:      int64(cfg.Limits.ClientMinRate),
		Now:          s.options.Now,
	})
}

// hot gives a hub's hits to the table of its revision.
type hot struct {
	*front.Table
	mutable bool // mutable content too
	counter edge.Counter
	access  bool // is logged: to lines, or where there are none to log
	lines   *Logger
	log     *slog.Logger
	attrs   []slog.Attr // of all its lines; at statusAt the status
}

const statusAt = 1

var _ edge.Hot = (*hot)(nil)

// newHot is what the edge of a hub offers its hits to. Mutable content is ready
// only where nothing but the store decides what a key leads to: not in hubs that
// know of generations, whose files change together.
//
// Requests that are answered from the table pass by everything between the edge
// and the hub: where there is something that must see them, options.Hot stays nil.
func (s *Server) newHot(cfg *Config, m *mounted, table *front.Table, counter edge.Counter) *hot {
	h := &hot{
		Table: table, mutable: m.config.Module() == HubFiles && m.config.Name == defaultHub, counter: counter,
		access: cfg.Log.Access, log: s.log, lines: s.options.Lines,
	}
	if h.access {
		h.attrs = []slog.Attr{slog.String("handler", "GET /"), slog.Int("status", http.StatusOK), slog.String("action", "proxy"), slog.String("hub", m.config.Name),
			slog.String("module_key", string(m.config.Module())), slog.String("rollout_flag", string(m.config.Rollout)), slog.Bool("cache_hit", true), slog.Int("upstream_status", 0)}
	}
	return h
}

// Publish implements [edge.Hot].
func (h *hot) Publish(epoch uint64, r *http.Request, req *exchange.Request, resp *exchange.Response, sent http.Header) {
	if h.mutable || req.Policy.Class == freshness.Immutable {
		h.Table.Publish(epoch, front.Hit{Request: r, Exchange: req, Response: resp, Header: sent, Sent: func() func(*front.Answer) { return h.sent(r, resp) }})
	}
}

// sent hears of the answers of an entry, counts them, and logs them as the access
// log does, but for the line at their start. What all those lines have in common is
// written but once.
func (h *hot) sent(r *http.Request, resp *exchange.Response) func(*front.Answer) {
	log := h.line(r, resp)
	return func(a *front.Answer) {
		if h.counter != nil {
			h.counter.Answered(a.Outcome)
			h.counter.Sent(a.Outcome, a.Bytes)
		}
		if log != nil {
			log(a)
		}
	}
}

// line logs the answers of an entry; nil: they are not logged.
func (h *hot) line(r *http.Request, resp *exchange.Response) func(*front.Answer) {
	if !h.access {
		return nil
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	attrs := append(h.attrs[:len(h.attrs):len(h.attrs)],
		slog.String("path", path[:min(len(path), maxLogged)]), slog.String("upstream", resp.Entry.Mirror))
	outcome := resp.Outcome
	whole := h.lineOf(attrs, outcome)
	part := sync.OnceValue(func() func(*front.Answer) { // most entries are never asked for in parts
		attrs := slices.Clone(attrs)
		attrs[statusAt] = slog.Int("status", http.StatusPartialContent)
		return h.lineOf(attrs, outcome)
	})
	return func(a *front.Answer) {
		if a.Status == http.StatusPartialContent {
			part()(a)
		} else {
			whole(a)
		}
	}
}

func (h *hot) lineOf(attrs []slog.Attr, outcome exchange.Outcome) func(*front.Answer) {
	slow := slog.New(h.log.Handler().WithAttrs(attrs))
	if h.lines != nil {
		return h.lines.newHotLine(slow, attrs, outcome).log
	}
	return func(a *front.Answer) { logAnswer(slow, a, time.Now()) }
}

// maxLogged is how much of a path is logged.
const maxLogged = 1 << 10
