package gomod

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Dater = (*Hub)(nil)

const infos = 8 // that are asked for at once, for one list

// An about is what .info and @latest say.
type about struct {
	Version string
	Time    time.Time
}

// Published is the Time of the version's .info, which is that of its commit.
func (h *Hub) Published(ctx context.Context, next exchange.Source, req *exchange.Request) (time.Time, error) {
	ask, err := h.info(req, req.Version)
	if err != nil {
		return time.Time{}, err
	}
	a, err := h.about(ctx, next, ask)
	return a.Time, err
}

// info is the request for the .info of a version of the module that req is about.
func (h *Hub) info(req *exchange.Request, version string) (*exchange.Request, error) {
	path, err := module.EscapePath(req.Package)
	if err != nil {
		return nil, notFound("%s: %v", req.Package, err)
	}
	file, err := module.EscapeVersion(version)
	if err != nil {
		return nil, notFound("%s: %v", version, err)
	}
	at := "/" + path + "/@v/" + file + ".info"
	class := freshness.Mutable
	if isCanonical(version) {
		class = freshness.Immutable
	}
	ask := h.hub.Request(at, at, class, ttl)
	ask.Package, ask.Version, ask.Client = req.Package, version, req.Client
	return ask, nil
}

// about asks for an .info or a @latest. The zero value is what there is not, or says nothing.
func (h *Hub) about(ctx context.Context, next exchange.Source, req *exchange.Request) (a about, err error) {
	resp, err := next.Get(ctx, req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.Entry.Status != http.StatusOK {
		return a, nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxInfo)).Decode(&a); err != nil {
		return about{}, &exchange.Error{Status: http.StatusBadGateway, Message: "the answer from upstream cannot be read", Err: err}
	}
	return a, nil
}

const latestSuffix = "/@latest"

// sifts reports whether req is for what shows versions.
func sifts(req *exchange.Request) bool {
	return req.Origin == "" && (strings.HasSuffix(req.Key.Path, latestSuffix) || strings.HasSuffix(req.Key.Path, "/@v/list"))
}

// sifted answers a list or a @latest with what req's sieve shows.
func (h *Hub) sifted(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	whole := req.Clone()
	whole.Head = false
	if strings.HasSuffix(req.Key.Path, latestSuffix) {
		a, err := h.about(ctx, next, whole)
		if err == nil && a.Version != "" && !req.Sieve.Shows(a.Version, a.Time) {
			return nil, notFound("%s: its latest version, %s, is not shown here", req.Package, a.Version)
		}
		return next.Get(ctx, req)
	}
	resp, err := next.Get(ctx, whole)
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()
	var versions []string
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxList))
	for lines.Scan() {
		if v := strings.TrimSpace(lines.Text()); semver.IsValid(v) {
			versions = append(versions, v)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "the list from upstream cannot be read", Err: err}
	}
	out := listed(req, resp.Entry, h.shown(ctx, next, req, versions))
	out.Outcome = resp.Outcome
	if req.Head {
		out.Body = http.NoBody
	}
	return out, nil
}

// shown are the versions that req's sieve shows. One whose date cannot be had has none.
func (h *Hub) shown(ctx context.Context, next exchange.Source, req *exchange.Request, versions []string) []string {
	times := make([]time.Time, len(versions))
	if req.Sieve.Dates {
		var asking sync.WaitGroup
		room := make(chan struct{}, infos)
		for i, v := range versions {
			room <- struct{}{}
			asking.Go(func() { // ends with its answer, or with ctx
				defer func() { <-room }()
				if ask, err := h.info(req, v); err == nil {
					a, _ := h.about(ctx, next, ask)
					times[i] = a.Time
				}
			})
		}
		asking.Wait()
	}
	shown := versions[:0]
	for i, v := range versions {
		if req.Sieve.Shows(v, times[i]) {
			shown = append(shown, v)
		}
	}
	return shown
}
