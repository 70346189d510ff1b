package cacheproxy

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// newTable is a table of ready answers as cfg has it; nil: there is none.
func (s *Server) newTable(cfg *Config) *front.Table {
	if cfg.Storage.Local.Memory == 0 {
		return nil
	}
	return front.NewTable(front.TableOptions{
		Epochs:       s.epochs,
		Memory:       int64(cfg.Storage.Local.Memory),
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
	log     *slog.Logger // of accesses; nil: they are not logged
}

var _ edge.Hot = (*hot)(nil)

// newHot is what the edge of a hub offers its hits to. Mutable content is ready
// only where nothing but the store decides what a key leads to: not in hubs that
// know of generations, whose files change together.
//
// Requests that are answered from the table pass by everything between the edge
// and the hub: where there is something that must see them, options.Hot stays nil.
func (s *Server) newHot(cfg *Config, m *mounted, table *front.Table, counter edge.Counter) *hot {
	h := &hot{Table: table, mutable: m.config.Module() == HubFiles && m.config.Name == defaultHub, counter: counter}
	if cfg.Log.Access && s.log.Enabled(context.Background(), slog.LevelInfo) {
		h.log = s.log.With("handler", "GET /", "status", http.StatusOK, "action", "proxy", "hub", m.config.Name,
			"module_key", string(m.config.Module()), "rollout_flag", string(m.config.Rollout), "cache_hit", true, "upstream_status", 0)
	}
	return h
}

// Publish implements [edge.Hot].
func (h *hot) Publish(epoch uint64, r *http.Request, req *exchange.Request, resp *exchange.Response, sent http.Header) {
	if h.mutable || req.Policy.Class == freshness.Immutable {
		h.Table.Publish(epoch, front.Hit{Request: r, Exchange: req, Response: resp, Header: sent, Sent: h.sent(r, resp.Entry)})
	}
}

// sent hears of the answers of an entry, counts them, and logs them as the access
// log does, but for the line at their start. What all those lines have in common is
// written but once.
func (h *hot) sent(r *http.Request, e *exchange.Entry) func(*front.Answer) {
	log := h.log
	if log != nil {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		log = log.With("path", path[:min(len(path), maxLogged)], "upstream", e.Mirror)
	}
	return func(a *front.Answer) {
		if h.counter != nil {
			h.counter.Answered(a.Outcome)
			h.counter.Sent(a.Outcome, a.Bytes)
		}
		if log == nil {
			return
		}
		method := http.MethodGet
		if a.Head {
			method = http.MethodHead
		}
		attrs := append(make([]slog.Attr, 0, 8),
			slog.String("method", method), slog.Int64("bytes", a.Bytes), slog.Duration("duration", time.Since(a.Started)),
			slog.String("cache", a.Outcome.Word()), slog.String("cache_status", a.Outcome.CacheStatus("cache-proxy")),
			slog.String("client", a.Client), slog.String("request_id", a.RequestID))
		if !a.Complete {
			attrs = append(attrs, slog.Bool("aborted", true))
		}
		log.LogAttrs(context.Background(), slog.LevelInfo, "request finished", attrs...)
	}
}

// maxLogged is how much of a path is logged.
const maxLogged = 1 << 10
