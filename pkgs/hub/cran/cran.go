// Package cran is the hub of repositories of R packages, CRAN and others of its
// layout (R Installation and Administration, section 6.6).
//
// Its words: an index is a file PACKAGES, packed or not, or the same table as R
// keeps objects (PACKAGES.rds, package rds), which R asks for first; a source package
// is NAME_VERSION.tar.gz; when there is a newer one it moves to Archive/NAME; a
// binary is what is made of one for a system and a release of R.
//
// Source packages never change, and one that is gone is looked for in the archive.
// Binaries are built anew under one name: they are what the index says, if it says
// anything. What indexes say is MD5 sums, which R does not check. Nothing is
// rewritten.
//
// Some servers send binaries in the place of source packages, by what R says of
// itself; Options.ByUserAgent is for them.
package cran

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Options are what an operator chooses.
type Options struct {
	// ByUserAgent: what is below src/contrib depends on the release of R and the
	// system that clients name in User-Agent, which goes upstream.
	ByUserAgent bool
}

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub     hub.Options
	options Options
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, options Options) *Hub { return &Hub{hub: o, options: options} }

const (
	ttl      = 5 * time.Minute
	renewTTL = 10 * time.Second // of an index that seems to be out of date
)

// indexes are the names of one index, as R asks for them.
var indexes = [...]string{"PACKAGES.rds", "PACKAGES.gz", "PACKAGES"}

// Parse takes any path of a file; one that it cannot place is mutable. Neither the
// query counts nor what R says of its cache.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(p, "/") {
		return nil, hub.NoPath(p)
	}
	class := freshness.Mutable
	name, version, kind := place(p)
	if kind == sourcePackage {
		class = freshness.Immutable
	}
	req := h.hub.Request(p, target, class, ttl)
	req.Package, req.Version = cmp.Or(h.hub.Members.Suspect(p, "_"), name), version
	if h.options.ByUserAgent && strings.Contains(p, sourceDir) {
		if m := system.FindStringSubmatch(r.Header.Get("User-Agent")); m != nil {
			req.Key.Variant = m[1]
			req.Header = http.Header{"User-Agent": {"R (" + m[1] + ")"}}
		}
	}
	return req, nil
}

// system is how R names its release and the system, as the function
// utils::HTTPUserAgent has it.
var system = regexp.MustCompile(`\bR \(([0-9][0-9.]{2,10}(?: [A-Za-z0-9._-]{1,40}){1,3})\)`)

// Kinds of packages.
const (
	noPackage = iota
	sourcePackage
	binaryPackage
)

const sourceDir = "/src/contrib/"

// place says which package's file a canonical path is.
func place(p string) (name, version string, kind int) {
	dir, file := path.Split(p)
	var stem string
	switch ok := false; {
	case strings.Contains(dir, sourceDir):
		if stem, ok = strings.CutSuffix(file, ".tar.gz"); ok {
			kind = sourcePackage
		}
	case strings.Contains(dir, "/bin/"):
		if stem, ok = strings.CutSuffix(file, ext(dir)); ok {
			kind = binaryPackage
		}
	}
	name, version, _ = strings.Cut(stem, "_")
	if kind == noPackage || name == "" || version == "" || strings.Trim(version, "0123456789.-") != "" {
		return "", "", noPackage
	}
	return name, version, kind
}

// ext is how files of packages in a directory end.
func ext(dir string) string {
	switch {
	case strings.Contains(dir, "/bin/windows/"):
		return ".zip"
	case strings.Contains(dir, "/bin/macosx/"):
		return ".tgz"
	}
	return ".tar.gz"
}

// Rewrite has the ledger learn from indexes, and pins binaries to what they say.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := h.get(ctx, next, req)
		if err != nil || !h.options.ByUserAgent || !strings.Contains(req.Key.Path, sourceDir) {
			return resp, err
		}
		varied := *hub.Vary(resp, "User-Agent")
		if content, ok := resp.Body.(io.ReadSeeker); ok {
			// Not as the file that it is: answers that are kept ready (package front)
			// are told apart by path and Accept alone.
			varied.Body = struct {
				io.ReadSeeker
				io.Closer
			}{content, resp.Body}
		}
		return &varied, nil
	})
}

func (h *Hub) get(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	dir, file := path.Split(req.Key.Path)
	if _, _, kind := place(req.Key.Path); kind == binaryPackage {
		return h.binary(ctx, next, req, dir)
	}
	resp, err := next.Get(ctx, req)
	if err == nil && req.Key.Variant == "" && slices.Contains(indexes[:], file) {
		h.hub.Learn(next, req, resp, dir, func(r io.Reader, teach hub.Teach) error { return readIndex(r, dir, teach) })
	}
	return resp, err
}

// binary answers for a binary in dir: with what the index there says that it is, and
// if nobody has that, with what the index says now.
func (h *Hub) binary(ctx context.Context, next exchange.Source, req *exchange.Request, dir string) (*exchange.Response, error) {
	fact, listed := h.hub.Ledger.Lookup(ctx, req.Key)
	if !listed {
		return next.Get(ctx, req)
	}
	return hub.Pinned(ctx, next, req, fact, func() (newer exchange.Fact, ok bool) {
		if newer, ok = h.renewed(ctx, next, req, dir); ok {
			h.hub.Ledger.Teach(req.Key, newer)
		}
		return newer, ok
	})
}

// renewed is what the index in dir says of a file, asked for anew.
func (h *Hub) renewed(ctx context.Context, next exchange.Source, req *exchange.Request, dir string) (f exchange.Fact, ok bool) {
	for _, name := range indexes {
		ask, known := hub.Follow(h, dir+name)
		if !known {
			continue
		}
		ask.Policy.TTL = min(renewTTL, ask.Policy.TTL)
		f, ok = exchange.Fact{}, false // what an index said that could not be read to its end
		resp, err := hub.Consult(ctx, next, ask, func(r io.Reader, _ *url.URL) error {
			return readIndex(r, dir, func(p string, said exchange.Fact) {
				if p == req.Key.Path {
					f, ok = said, true
				}
			})
		})
		if err == nil && resp.Entry.Status == http.StatusOK {
			return f, ok
		}
	}
	return exchange.Fact{}, false
}

// Gate looks for source packages that are gone in the archive.
func (h *Hub) Gate(next, _ exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		dir, file := path.Split(req.Target)
		name, _, kind := place(req.Key.Path)
		if err != nil || kind != sourcePackage || !strings.HasSuffix(dir, sourceDir) || !hub.Missing(resp.Entry.Status) {
			return resp, err
		}
		ask := req.Clone()
		ask.Target = dir + "Archive/" + name + "/" + file
		if second, err := next.Get(ctx, ask); err == nil {
			resp.Body.Close()
			return second, nil
		}
		return resp, nil
	})
}
