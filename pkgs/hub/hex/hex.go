// Package hex is the hub of Hex, the repositories of Erlang, Elixir and Gleam
// (https://github.com/hexpm/specifications).
//
// Its words: a *resource* is one of the registry's signed files (names, versions, a
// package, a policy): a message of Protocol Buffers, signed and packed by gzip; a
// *tarball* is what is installed, whose digest the resource of its package has.
// Below /repos/REPO/ an organisation has all of that for itself; below /installs/
// lie the tools that mix fetches, listed in files that are signed too.
//
// Nothing is rewritten: resources name no host, and clients check signatures over
// every byte. This hub checks none. It knows the read side of a repository alone:
// the HTTP API, and so logins and publishing, is elsewhere (HEX_API_URL).
package hex

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

const (
	ttl      = 5 * time.Minute // of what changes
	maxTries = 4               // mirrors that are asked for a resource
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub         hub.Options
	ledger      *ledger.Ledger
	generations *hub.Generations // of lists of tools
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub. A nil ledger is not taught.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	h := &Hub{hub: o, ledger: l}
	h.generations = hub.NewGenerations(&h.hub, hub.Format{
		Companions: signatures,
		Unordered:  true,
		Request:    func(p string) *exchange.Request { return h.hub.Request(p, p, freshness.Mutable, ttl) },
	}, hub.GenerationOptions{})
	return h
}

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	resource      // of the registry
	document      // another file that may change
	list          // of tools
	fixed         // a file that does not change
)

// Parse knows the read side of a repository. No query and no field counts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	p, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	k, _, name, version := classify(p)
	if k == unknown {
		return nil, fmt.Errorf("%s is no path of a repository: %w", p, fs.ErrNotExist)
	}
	class := freshness.Mutable
	if k == fixed {
		class = freshness.Immutable
	}
	req := h.hub.Request(p, target, class, ttl)
	req.Package, req.Version = cmp.Or(h.hub.Members.Suspect(path.Base(p), "-"), hub.Name(name)), version
	return req, nil
}

// classify says what a canonical path is, of which package or tool and version, and
// below which repository: "" or "/repos/REPO".
func classify(p string) (k kind, repo, name, version string) {
	if rest, ok := strings.CutPrefix(p, "/repos/"); ok {
		organisation, _, _ := strings.Cut(rest, "/")
		if organisation == "" {
			return unknown, "", "", ""
		}
		repo = "/repos/" + organisation
	}
	dir, base := path.Split(p[len(repo):])
	switch dir {
	case "/":
		switch base {
		case "names", "versions":
			return resource, repo, "", ""
		case "public_key":
			return fixed, repo, "", ""
		}
	case "/packages/", "/policies/":
		if base == "" || dir == "/policies/" && repo == "" {
			break
		}
		if dir == "/policies/" {
			return resource, repo, "", ""
		}
		return resource, repo, base, ""
	case "/tarballs/":
		if name, version, ok := nameVersion(base, ".tar"); ok {
			return fixed, repo, name, version
		}
	case "/docs/": // may be published again
		if name, version, ok := nameVersion(base, ".tar.gz"); ok {
			return document, repo, name, version
		}
	default:
		if repo == "" && base != "" && strings.HasPrefix(dir, "/installs/") {
			if name, version, ok := nameVersion(strings.TrimSuffix(base, ".ez"), ""); ok && strings.Count(dir, "/") == 3 {
				return fixed, "", name, version // /installs/ELIXIR/NAME-VERSION
			}
			if dir == "/installs/" && strings.HasSuffix(base, ".csv") {
				return list, "", "", ""
			}
			return document, "", "", ""
		}
	}
	return unknown, "", "", ""
}

// nameVersion takes NAME-VERSION apart, where a name has no dash.
func nameVersion(base, suffix string) (name, version string, ok bool) {
	base, ok = strings.CutSuffix(base, suffix)
	name, version, found := strings.Cut(base, "-")
	return name, version, ok && found && name != "" && version != ""
}

// signatures are those of a list of tools.
func signatures(p string) (paths []string, ok bool) {
	k, _, _, _ := classify(p)
	return []string{p + ".signed"}, k == list
}

// Rewrite learns from what passes, and gives the signature that came with a list.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		k, repo, name, _ := classify(req.Key.Path)
		signed, isSignature := strings.CutSuffix(req.Key.Path, ".signed")
		switch _, listed := signatures(signed); {
		case isSignature && listed:
			return h.generations.Companion(ctx, next, req, signed, false)
		case k == list:
			resp, err := h.generations.Root(ctx, next, req)
			if err == nil && resp.Entry.Status == http.StatusOK && !resp.NoStore && !req.Head {
				h.ledger.Learn(next, req, resp.Entry, path.Dir(req.Key.Path)+"/", func(r io.Reader, teach func(string, exchange.Fact)) error {
					return readTools(req.Key.Path, r, teach)
				})
			}
			return resp, err
		case k == fixed:
			if _, listed := h.ledger.Known(req.Key); listed { // to come, if it is not there (PROTOCOLS 0.13)
				req = req.Clone()
				req.Policy.Negative = 0
			}
		}
		resp, err := next.Get(ctx, req)
		if err == nil && k == fixed {
			resp = h.tagged(req, resp)
		}
		if err == nil && k == resource && name != "" && resp.Entry.Status == http.StatusOK && !resp.NoStore && !req.Head {
			prefix := repo + "/tarballs/" + name + "-"
			h.ledger.Learn(next, req, resp.Entry, prefix, func(r io.Reader, teach func(string, exchange.Fact)) error {
				return readPackage(r, hub.Name(name), func(version string, d exchange.Digest) {
					if p, ok := hub.Canonical(prefix + version + ".tar"); ok {
						teach(p, exchange.Fact{Digest: d})
					}
				})
			})
		}
		return resp, err
	})
}

// tagged is resp with an entity tag, which rebar3 takes no tarball without, whether
// the mirror has sent one or not. It takes resp over.
func (h *Hub) tagged(req *exchange.Request, resp *exchange.Response) *exchange.Response {
	f, _ := h.ledger.Known(req.Key)
	if f.Digest == "" || resp.Entry.Status != http.StatusOK || resp.Entry.Header.Get("Etag") != "" {
		return resp
	}
	own, e := *resp, *resp.Entry
	if e.Header = e.Header.Clone(); e.Header == nil {
		e.Header = http.Header{}
	}
	e.Header.Set("Etag", `"`+f.Digest.Hex()+`"`)
	own.Entry = &e
	return &own
}

// Gate lets no page in where a resource was asked for: clients would find it wrong,
// each of them until it is asked for again. Another mirror is asked instead.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	next = h.generations.Gate(next, cached)
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if k, _, _, _ := classify(req.Key.Path); k != resource || req.Head {
			return next.Get(ctx, req)
		}
		ask := req.Clone()
		ask.Resume = nil // it is looked into from its beginning
		for try := 1; ; try++ {
			resp, err := next.Get(ctx, ask)
			if err != nil || resp.Entry.Status != http.StatusOK {
				return resp, err
			}
			packed := bufio.NewReaderSize(resp.Body, 16)
			if magic, _ := packed.Peek(2); string(magic) == "\x1f\x8b" {
				own := *resp
				own.Body, own.Ranges = struct {
					io.Reader
					io.Closer
				}{packed, resp.Body}, nil
				return &own, nil
			}
			resp.Body.Close()
			if try == maxTries || try >= len(h.hub.Mirrors) || ctx.Err() != nil {
				return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has this resource of the registry",
					Err: errors.New("content of " + resp.Entry.Mirror + " is not packed")}
			}
			ask.Avoid = append(slices.Clip(ask.Avoid), resp.Entry.Mirror)
		}
	})
}
