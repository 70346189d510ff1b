package hub

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Lists are files that say what mutable files below them must be: SHA256SUMS of
// an installer, .treeinfo of a tree. A file that one lists is pinned: it is what
// the list says, from whichever mirror has that, or it is an error. They are safe
// for concurrent use.
type Lists struct {
	read func(p string, r io.Reader, teach func(p string, f exchange.Fact)) error
	now  func() time.Time

	mu     sync.Mutex
	known  map[exchange.Digest]map[string]exchange.Fact // guarded by mu, by the list's digest
	forced map[string]time.Time                         // guarded by mu, by the list's path
}

// Bounds of what is remembered of lists.
const (
	maxListed = 10_000 // files of one
	maxLists  = 32
	maxForced = 1000
)

// NewLists makes them. read teaches what the list at a path says.
func NewLists(o *Options, read func(p string, r io.Reader, teach func(p string, f exchange.Fact)) error) *Lists {
	return &Lists{read: read, now: o.now, known: map[exchange.Digest]map[string]exchange.Fact{}, forced: map[string]time.Time{}}
}

// Get answers for a file that the list at path may list. ask gets the list; anew
// says that it may be out of date, since no mirror has what it lists.
func (l *Lists) Get(ctx context.Context, next exchange.Source, req *exchange.Request, path string,
	ask func(anew bool) (*exchange.Response, error)) (*exchange.Response, error) {
	fact, listed := l.fact(req.Key.Path, path, ask, false)
	if !listed {
		return next.Get(ctx, req)
	}
	resp, err := next.Get(ctx, pinnedTo(req, fact))
	if err == nil && resp.Entry.Status < http.StatusBadRequest || ctx.Err() != nil || !l.force(path) {
		return resp, err
	}
	newer, listed := l.fact(req.Key.Path, path, ask, true)
	if !listed || newer == fact {
		return resp, err
	}
	if err == nil {
		resp.Body.Close()
	}
	return next.Get(ctx, pinnedTo(req, newer))
}

// pinnedTo is the request for the content that f names, which has a key of its own.
func pinnedTo(req *exchange.Request, f exchange.Fact) *exchange.Request {
	req = req.Clone()
	req.Digest, req.Size = f.Digest, f.Size
	req.Key.Variant = string(f.Digest)
	req.Policy.Class, req.Policy.Negative = freshness.Immutable, 0
	return req
}

// fact is what the list at path says of a file.
func (l *Lists) fact(file, path string, ask func(anew bool) (*exchange.Response, error), anew bool) (f exchange.Fact, ok bool) {
	resp, err := ask(anew)
	if err != nil {
		return f, false
	}
	defer resp.Body.Close()
	if resp.Entry.Status != http.StatusOK {
		return f, false
	}
	digest := resp.Entry.Digest
	l.mu.Lock()
	all := l.known[digest]
	l.mu.Unlock()
	if all == nil {
		all = map[string]exchange.Fact{}
		err := l.read(path, io.LimitReader(resp.Body, maxRoot), func(p string, f exchange.Fact) {
			if f.Digest != "" && len(all) < maxListed {
				all[p] = f
			}
		})
		if err != nil {
			return f, false
		}
		l.keep(digest, all)
	}
	f, ok = all[file]
	return f, ok
}

func (l *Lists) keep(digest exchange.Digest, all map[string]exchange.Fact) {
	if digest == "" {
		return // it is on its way, and may yet be found wrong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxLists {
		clear(l.known)
	}
	l.known[digest] = all
}

// force says whether a list may be asked for anew: now and then.
func (l *Lists) force(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Sub(l.forced[path]) < forceTime {
		return false
	}
	if len(l.forced) >= maxForced {
		clear(l.forced)
	}
	l.forced[path] = now
	return true
}
