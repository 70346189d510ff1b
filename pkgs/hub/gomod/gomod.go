// Package gomod is the hub of Go modules: the module proxy protocol
// (https://go.dev/ref/mod#goproxy-protocol) and, below /sumdb/NAME/, checksum
// databases passed on (https://go.dev/design/25530-sumdb#proxying-a-checksum-database).
//
// Its words: a module path and a version are escaped in URLs, an upper-case
// letter is "!" and the lower-case one; a version is canonical (v1.2.3, a
// pre-release, a pseudo-version, +incompatible) or a query (a branch, a tag, a
// commit, v1); a lookup is the checksum database's record of one version, with
// the h1 hashes of its zip and of its go.mod.
//
// Files of canonical versions never change; lists, the latest version and what a
// query means do. Nothing is rewritten. Between the cache and the mirrors stands
// a gate: it checks zips and go.mod files by the lookup (verify.go), lets no
// database's tree become smaller (sumdb.go), and keeps answers out of the
// cache that are no lookup and no tree, pages instead of files, and what is said
// of another version (sound.go).
//
// A list is that of all mirrors together (list.go), or of all members (member.go),
// each of which is asked by the fastest of its mirrors.
//
// It runs no version control and unpacks no zip. It does not check a database's
// signatures, for which it has no keys; go does.
package gomod

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Options of a [Hub] beyond those of every hub.
type Options struct {
	// Sumdb are the names of the checksum databases that are passed on. A request
	// to one has its name as Request.Origin, since its tree comes from one server:
	// no mirrors, which may be of different age.
	Sumdb []string

	// Private are patterns of module path prefixes, as in GOPRIVATE. Such a module
	// is not asked for, of mirrors and databases alike: 404 at once, on which go
	// asks the next proxy of GOPROXY. One that serves private modules is a hub of
	// its own.
	Private []string

	// Verify: files are checked by the first of Sumdb, which is asked, and not had
	// if it does not know them. Otherwise they are checked if the lookup is stored,
	// since a client has asked for it here.
	Verify bool
}

// A Hub is one module proxy. It is safe for concurrent use.
type Hub struct {
	opts    Options
	hub     hub.Options
	private string // Private as one list
	mirrors []string

	mu    sync.Mutex
	trees map[string]int64             // guarded by mu; size of the largest tree seen, by database
	wrong map[exchange.Key]wrongMirror // guarded by mu
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, opts Options) (*Hub, error) {
	if opts.Verify && len(opts.Sumdb) == 0 {
		return nil, fmt.Errorf("hub %s: no checksum database to verify by", o.Name)
	}
	return &Hub{
		opts: opts, hub: o, private: strings.Join(opts.Private, ","), mirrors: bases(o.Mirrors),
		trees: map[string]int64{}, wrong: map[exchange.Key]wrongMirror{},
	}, nil
}

// ttl is of what changes: lists, queries, the latest version.
const ttl = 5 * time.Minute

// storedOnly asks for what is stored, and nothing else. It stays in the hub.
const storedOnly = "Disable-Module-Fetch"

// Parse knows the paths of the module proxy protocol, whose names must be
// escaped as [module.EscapePath] does it: any other spelling is 404, as it would
// be the same module under another key. The query does not count.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	req := &exchange.Request{Key: exchange.Key{Hub: h.hub.Name, Path: path}, Target: target}
	if rest, ok := strings.CutPrefix(path, sumdbPrefix); ok {
		err = h.parseSumdb(req, rest)
	} else {
		err = h.parseModule(req)
	}
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(r.Header.Get(storedOnly), "true") {
		req.Header = http.Header{storedOnly: {"true"}}
	}
	return req, nil
}

// parseModule fills in a request for /MODULE/@latest or /MODULE/@v/….
func (h *Hub) parseModule(req *exchange.Request) error {
	path := req.Key.Path
	class := freshness.Mutable
	escaped, latest := strings.CutSuffix(path, "/@latest")
	if !latest {
		i := strings.LastIndex(path, "/@v/")
		if i < 0 {
			return notFound("%s: not a path of the module proxy protocol", path)
		}
		file := path[i+len("/@v/"):]
		escaped = path[:i]
		if file != "list" {
			version, canonical, err := parseFile(file)
			if err != nil {
				return notFound("%s: %v", path, err)
			}
			if req.Version = version; canonical {
				class = freshness.Immutable
			}
		}
	}
	var err error
	if req.Package, err = module.UnescapePath(strings.TrimPrefix(escaped, "/")); err != nil {
		return notFound("%s: %v", path, err)
	}
	if err := h.public(req); err != nil {
		return err
	}
	req.Policy = h.hub.Policies.For(path, class, ttl)
	return nil
}

// parseFile takes VERSION.info, .mod or .zip apart; the version may be a query
// in the first of them alone.
func parseFile(file string) (version string, canonical bool, err error) {
	i := strings.LastIndexByte(file, '.')
	if i < 0 || !slices.Contains([]string{".info", ".mod", ".zip"}, file[i:]) {
		return "", false, fmt.Errorf("%q is no list, .info, .mod or .zip", file)
	}
	if version, err = module.UnescapeVersion(file[:i]); err != nil {
		return "", false, err
	}
	canonical = isCanonical(version)
	if !canonical && file[i:] != ".info" {
		return "", false, fmt.Errorf("%s is not a canonical version", version)
	}
	return version, canonical, nil
}

func isCanonical(version string) bool {
	return module.CanonicalVersion(version) == version && version != ""
}

// public is an error if nobody is to be asked about the module.
func (h *Hub) public(req *exchange.Request) error {
	if h.private != "" && module.MatchPrefixPatterns(h.private, req.Package) {
		return notFound("%s: it is private, and nobody is asked about it here", versionOf(req))
	}
	return nil
}

// Rewrite answers what needs nobody else, and changes nothing but what a sieve
// does not show.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if name, ok := supported(req); ok {
			return h.answer(req, name), nil
		}
		if req.Header.Get(storedOnly) != "" {
			resp, err := h.hub.Stored(ctx, req)
			if err != nil {
				return nil, notFound("%s: it is not stored, and the client wants nothing fetched", versionOf(req))
			}
			return resp, nil
		}
		if isLatest(req) {
			h.recall(ctx, req)
		}
		if req.Sieve != nil && sifts(req) {
			return h.sifted(ctx, next, req)
		}
		return next.Get(ctx, req)
	})
}

// Gate is where answers are checked before they are stored.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	sound := h.sound(next)
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch {
		case req.Head: // there is nothing to check
			return next.Get(ctx, req)
		case req.Origin != "":
			return h.database(ctx, next, req)
		case req.Version != "" && len(h.opts.Sumdb) > 0 && !strings.HasSuffix(req.Key.Path, ".info") && len(h.hub.Members.Owners(req)) == 0:
			return h.verified(ctx, sound, cached, req)
		case strings.HasSuffix(req.Key.Path, listSuffix) && len(h.mirrors) > 1 && h.hub.Members == nil:
			return h.merged(ctx, sound, req)
		}
		return sound.Get(ctx, req)
	})
}

// versionOf is what req is about, as go writes it.
func versionOf(req *exchange.Request) string {
	if req.Version == "" {
		return req.Package
	}
	return req.Package + "@" + req.Version
}

// notFound is a refusal in the words that go shows behind "server response:".
func notFound(format string, args ...any) error {
	return &exchange.Error{Status: http.StatusNotFound, Message: "not found: " + fmt.Sprintf(format, args...)}
}
