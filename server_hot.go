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
	sent    func(*front.Answer)
}

var _ edge.Hot = (*hot)(nil)

// newHot is what the edge of a hub offers its hits to. Mutable content is ready
// only where nothing but the store decides what a key leads to: not in hubs that
// know of generations, whose files change together.
func (s *Server) newHot(cfg *Config, m *mounted, table *front.Table, counter edge.Counter) *hot {
	h := &hot{Table: table, mutable: m.config.Module() == HubFiles && m.config.Name == defaultHub}
	log := s.log
	if !cfg.Log.Access || !log.Enabled(context.Background(), slog.LevelInfo) {
		log = nil
	}
	more := []slog.Attr{
		slog.String("action", "proxy"), slog.String("hub", m.config.Name),
		slog.String("module_key", string(m.config.Module())), slog.String("rollout_flag", string(m.config.Rollout)),
		slog.Bool("cache_hit", true), slog.Int("upstream_status", 0),
	}
	h.sent = func(a *front.Answer) {
		if counter != nil {
			counter.Answered(a.Outcome)
			counter.Sent(a.Outcome, a.Bytes)
		}
		if log != nil {
			logHot(log, a, more)
		}
	}
	return h
}

// Publish implements [edge.Hot].
func (h *hot) Publish(epoch uint64, r *http.Request, req *exchange.Request, resp *exchange.Response, sent http.Header) {
	if h.mutable || req.Policy.Class == freshness.Immutable {
		h.Table.Publish(epoch, front.Hit{Request: r, Exchange: req, Response: resp, Header: sent, Sent: h.sent})
	}
}

// logHot logs an answer from memory: as the access log does, but for the line at
// its start.
func logHot(log *slog.Logger, a *front.Answer, more []slog.Attr) {
	method := http.MethodGet
	if a.Head {
		method = http.MethodHead
	}
	path, _, _ := strings.Cut(a.Ready.Target, "?")
	attrs := append(make([]slog.Attr, 0, 20),
		slog.String("method", method), slog.String("path", path), slog.String("handler", "GET /"),
		slog.Int("status", http.StatusOK), slog.Int64("bytes", a.Bytes), slog.Duration("duration", time.Since(a.Started)),
		slog.String("cache", a.Outcome.Word()), slog.String("cache_status", a.Outcome.CacheStatus("cache-proxy")),
		slog.String("upstream", a.Ready.Entry.Mirror), slog.String("client", a.Client))
	if !a.Complete {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	attrs = append(append(attrs, slog.String("request_id", a.RequestID)), more...)
	log.LogAttrs(context.Background(), slog.LevelInfo, "request finished", attrs...)
}
