// Package pub is the hub of pub, the package repositories of Dart and Flutter
// (https://github.com/dart-lang/pub/blob/master/doc/repository-spec-v2.md).
//
// Its words: a *listing* is the document of a package, with all its versions; an
// *archive* is what is installed, and lies where a version's archive_url says.
//
// Listings change; archives never do. The links to archives in a listing lead to
// this hub where they lie below a mirror or a second host, and stay where not;
// nothing else in it is touched. What it says of their content is taught to the
// ledger.
//
// It takes no tokens and publishes nothing.
package pub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	links  *hub.Links
	ledger *ledger.Ledger
}

var (
	_ hub.Hub     = (*Hub)(nil)
	_ hub.Refuser = (*Hub)(nil)
)

// New makes a hub. A nil ledger is not taught.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	return &Hub{hub: o, links: o.Links(), ledger: l}
}

const (
	ttl       = 5 * time.Minute // of what changes
	rules     = "pub 1 "        // version of the rewriter
	mediaType = "application/vnd.pub.v2+json"
	apiPrefix = "/api/packages/"
)

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	listing       // of a package, or of one version of it
	document      // about a package
	archive
	search // passed through
	upload // refused
)

// Parse knows the paths of a repository. The query counts for archives, where it is
// what a link has, and for searches.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	k, name, version := classify(path)
	name = h.about(k, path, name, r.URL.RawQuery)
	if req, ok := h.hub.File(path, target, r.URL.RawQuery); ok {
		if k == archive {
			req.Package, req.Version = name, version
		}
		return req, nil
	}
	if strings.HasPrefix(path, hub.FilePrefix) {
		k = unknown
	}
	class, query := freshness.Mutable, ""
	switch k {
	case unknown:
		return nil, fmt.Errorf("%s is no path of a repository: %w", path, fs.ErrNotExist)
	case upload:
		return nil, &exchange.Error{Status: http.StatusMethodNotAllowed, Message: "this repository is a cache: publish at the repository behind it"}
	case archive:
		class, query = freshness.Immutable, r.URL.RawQuery
	case search:
		class, query = freshness.Passthrough, r.URL.RawQuery
	}
	req := h.hub.Request(path, target, class, ttl)
	req.Package, req.Version = name, version
	if k == search {
		req.Policy.Class = freshness.Passthrough // whatever a policy says
	}
	if query != "" {
		query = "?" + hub.Query(query)
		req.Key.Path, req.Target = path+query, target+query
	}
	if k != archive {
		req.Header = http.Header{"Accept": {mediaType}}
	}
	return req, nil
}

// classify says what a canonical path is, and of which package and version.
func classify(path string) (k kind, name, version string) {
	if rest, ok := strings.CutPrefix(path, apiPrefix); ok {
		name, rest, more := strings.Cut(rest, "/")
		version, isVersion := strings.CutPrefix(rest, "versions/")
		switch {
		case name == "versions" && more: // new, newUpload, newUploadFinish
			return upload, "", ""
		case name != "" && !more:
			return listing, name, ""
		case name != "" && rest == "advisories":
			return document, name, ""
		case name != "" && isVersion && version != "" && !strings.Contains(version, "/"):
			return listing, name, version
		}
		return unknown, "", ""
	}
	switch path {
	case "/api/search", "/api/package-names", "/api/package-name-completion-data":
		return search, "", ""
	}
	base, ok := strings.CutSuffix(path, ".tar.gz")
	dir, base, found := cutLast(base)
	if !ok || !found || base == "" {
		return unknown, "", ""
	}
	// /packages/NAME/versions/VERSION.tar.gz, /api/archives/NAME-VERSION.tar.gz, or
	// wherever else a listing says.
	if rest, ok := strings.CutSuffix(dir, "/versions"); ok {
		_, name, _ = cutLast(rest)
		return archive, name, base
	}
	name, version, _ = strings.Cut(base, "-")
	return archive, name, version
}

func cutLast(path string) (dir, base string, found bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// Rewrite leads the archives of listings to this hub, by absolute links, since
// there are no others, and learns what they must be.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if k, _, _ := classify(req.Key.Path); k != listing {
			if _, listed := h.ledger.Known(req.Key); listed { // to come, if it is not there (PROTOCOLS 0.13)
				req = req.Clone()
				req.Policy.Negative = 0
			}
			return next.Get(ctx, req)
		}
		index := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err == nil && resp.Entry.Status == http.StatusOK && !resp.NoStore {
				h.ledger.Learn(next, req, resp.Entry, "/", h.learn)
			}
			return resp, err
		})
		base := req.Client.Base
		return h.hub.Edited(ctx, index, req, rules+base, func(dst io.Writer, src io.Reader) error {
			return h.copy(dst, src, base, nil)
		})
	})
}

// A teacher hears what a listing says of a path.
type teacher = func(path string, f exchange.Fact)

// learn reads a listing, which may be packed.
func (h *Hub) learn(r io.Reader, teach func(string, exchange.Fact)) error {
	plain, err := hub.Unpack(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	return h.copy(io.Discard, plain, "", teach)
}

// copy copies a listing, its archives as links below base, and teaches what it says
// of them; teach may be nil.
func (h *Hub) copy(dst io.Writer, src io.Reader, base string, teach teacher) error {
	// Of one version: the key of its archive, where that is the hub's, and the digest.
	var key string
	var digest exchange.Digest
	link := func(value []byte) ([]byte, error) {
		s, ok := hub.JSONString(value)
		if !ok {
			return value, nil
		}
		path, ok := h.links.Map(s, nil)
		if !ok {
			return value, nil // elsewhere, where it is not ours to fetch
		}
		u, err := url.Parse(path)
		if err != nil {
			return value, nil
		}
		req, err := h.Parse(&http.Request{URL: u})
		if err != nil {
			return value, nil
		}
		if k, _, _ := classify(u.EscapedPath()); k != archive && req.Origin == "" {
			return value, nil
		}
		key = req.Key.Path
		return hub.AppendJSONString(nil, base+path), nil
	}
	sum := func(value []byte) ([]byte, error) {
		s, _ := hub.JSONString(value)
		digest, _ = exchange.ParseDigest("sha256:" + strings.ToLower(s))
		return value, nil
	}
	end := func([]byte) ([]byte, error) {
		if key != "" && digest != "" && teach != nil {
			teach(key, exchange.Fact{Digest: digest})
		}
		key, digest = "", ""
		return nil, nil
	}
	err := hub.CopyJSON(dst, src, hub.JSONRules{
		"archive_url": link, "archive_sha256": sum,
		"latest/archive_url": link, "latest/archive_sha256": sum, "latest/": end,
		"versions/*/archive_url": link, "versions/*/archive_sha256": sum, "versions/*/": end,
	})
	if err == nil {
		_, err = end(nil) // of the listing of one version
	}
	return err
}

// Refusal is what dart shows.
func (h *Hub) Refusal(status int, message string) (contentType string, body []byte) {
	var refusal struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	refusal.Error.Code = strings.ReplaceAll(http.StatusText(status), " ", "")
	refusal.Error.Message = message
	body, _ = json.Marshal(refusal) // of strings there is no error
	return mediaType, append(body, '\n')
}
