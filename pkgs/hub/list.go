package hub

import (
	"context"
	"io"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Lists are files that say what mutable files below them must be: SHA256SUMS of
// an installer, .treeinfo of a tree. A file that one lists is pinned: it is what
// the list says, from whichever mirror has that, or it is an error. They are safe
// for concurrent use.
type Lists struct {
	read func(p string, r io.Reader, teach func(p string, f exchange.Fact)) error

	known  *Recent[exchange.Digest, map[string]exchange.Fact] // by the list's digest
	forced *Pace                                              // lists that may be asked for anew, by path
}

// Bounds of what is remembered of lists.
const (
	maxListed = 10_000 // files of one
	maxLists  = 32
)

// NewLists makes them. read teaches what the list at a path says.
func NewLists(o *Options, read func(p string, r io.Reader, teach func(p string, f exchange.Fact)) error) *Lists {
	return &Lists{read: read, known: NewRecent[exchange.Digest, map[string]exchange.Fact](maxLists), forced: NewPace(o, forceTime)}
}

// Get answers for a file that the list at path may list. ask gets the list; anew
// says that it may be out of date, since no mirror has what it lists.
func (l *Lists) Get(ctx context.Context, next exchange.Source, req *exchange.Request, path string,
	ask func(anew bool) (*exchange.Response, error)) (*exchange.Response, error) {
	fact, listed := l.fact(req.Key.Path, path, ask, false)
	if !listed {
		return next.Get(ctx, req)
	}
	return Pinned(ctx, next, req, fact, func() (newer exchange.Fact, listed bool) {
		if !l.forced.Next(path) {
			return newer, false
		}
		return l.fact(req.Key.Path, path, ask, true)
	})
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
	all, known := l.known.Get(digest)
	if !known {
		all = map[string]exchange.Fact{}
		err := l.read(path, io.LimitReader(resp.Body, maxRoot), func(p string, f exchange.Fact) {
			if f.Digest != "" && len(all) < maxListed {
				all[p] = f
			}
		})
		if err != nil {
			return f, false
		}
		if digest != "" { // else it is on its way, and may yet be found wrong
			l.known.Put(digest, all)
		}
	}
	f, ok = all[file]
	return f, ok
}
