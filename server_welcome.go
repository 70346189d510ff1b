package cacheproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/welcome"
)

// Pages for people who only use the cache.
const (
	welcomePath = ownPrefix
	scriptPath  = ownPrefix + "setup.sh"
	detectPath  = ownPrefix + "apt-proxy-detect"
)

// welcome serves the page and the script of a configuration. An edge is before
// them as before a hub, so what they call this proxy is what links in indexes do,
// and a Host is as strictly read.
func (s *Server) welcome(cfg *Config) http.Handler {
	options := s.edge(cfg)
	pages := pages{site: welcome.New(guests(cfg)), now: s.options.Now}
	if f := s.forwarding(cfg); f != nil {
		pages.hosts = f.hosts()
	}
	options.Hub, options.Source = pages, pages
	if cfg.PublicURL.IsSet() {
		options.Base = cfg.PublicURL.String()
	}
	to := edge.New(options)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { to.ServeHTTP(framed{w}, r) })
}

// guests are what clients can use of a configuration: its hubs, and the trees
// that the first upstreams can be seen to have.
func guests(cfg *Config) []welcome.Hub {
	var all []welcome.Hub
	for _, h := range cfg.Served() {
		if h.Name == defaultHub {
			all = append(all, trees(&h)...)
			continue
		}
		to := welcome.Hub{Name: h.Name, Type: string(h.Type), Path: h.Path, Default: h.Options.Default, Providers: h.Options.Hosts}
		for _, u := range h.Upstream {
			if name := path.Base(u.Server.Path); name != "/" && name != "." {
				to.Names = append(to.Names, name)
			}
		}
		if kind := welcome.KindOf(h.Name); h.Type == HubFiles && kind != "pypi" {
			to.Type = kind // of a distribution's tree, which needs no hub of its type
		}
		all = append(all, to)
	}
	return all
}

func trees(h *Hub) (all []welcome.Hub) {
	seen := map[string]bool{}
	for _, u := range h.Upstream {
		if !u.Path.Match.IsSet() {
			continue
		}
		for _, name := range welcome.Trees(u.Path.Match.String()) {
			if !seen[name] {
				all = append(all, welcome.Hub{Name: name, Type: welcome.KindOf(name), Path: "/" + name})
			}
			seen[name] = true
		}
	}
	return all
}

// pages are a hub of two paths, and the source of what is there.
type pages struct {
	site  *welcome.Site
	hosts []string // that it is a proxy for; nil: it is none
	now   func() time.Time
}

// Parse implements [hub.Hub].
func (p pages) Parse(r *http.Request) (*exchange.Request, error) {
	return &exchange.Request{
		Key:    exchange.Key{Hub: "-", Path: r.URL.Path},
		Policy: freshness.Policy{Class: freshness.Passthrough},
	}, nil
}

// Rewrite implements [hub.Hub].
func (p pages) Rewrite(next exchange.Source) exchange.Source { return next }

// Get makes the page for the client that asks.
func (p pages) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	base := req.Client.Base
	if strings.HasSuffix(base, "://") { // HTTP/1.0 may leave it out
		return nil, &exchange.Error{Status: http.StatusBadRequest, Message: "a Host is needed, to say what this is called"}
	}
	make, mediaType := p.site.Page, "text/html; charset=utf-8"
	switch req.Key.Path {
	case scriptPath:
		make, mediaType = p.site.Script, "text/plain; charset=utf-8"
	case detectPath:
		mediaType = "text/plain; charset=utf-8"
		make = func(base string) ([]byte, error) {
			if p.hosts == nil {
				return nil, errors.New("forward is not enabled")
			}
			return p.site.Detect(base, p.hosts)
		}
	}
	text, err := make(base)
	if err != nil {
		return nil, &exchange.Error{Status: http.StatusNotFound, Message: "there is no such thing for this address", Err: err}
	}
	return &exchange.Response{
		Entry: &exchange.Entry{
			Key:    req.Key,
			Status: http.StatusOK,
			Header: http.Header{"Content-Type": {mediaType}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"}},
			Size:   int64(len(text)), Received: p.now(),
		},
		Body:    io.NopCloser(bytes.NewReader(text)),
		Outcome: exchange.Outcome{Fwd: exchange.FwdBypass},
	}, nil
}

// framed gives the page its own policy, in place of that for mirrors' pages.
type framed struct{ http.ResponseWriter }

func (w framed) WriteHeader(status int) {
	if h := w.Header(); h["Content-Security-Policy"] != nil {
		h.Set("Content-Security-Policy", welcome.Policy)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w framed) Unwrap() http.ResponseWriter { return w.ResponseWriter }
