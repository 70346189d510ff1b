package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rootName is the root of a repository, below it.
const rootName = "repodata/repomd.xml"

// companions are the signature of a root, and the key that it was made with.
func companions(root string) (paths []string, ok bool) {
	if !strings.HasSuffix(root, "/"+rootName) {
		return nil, false
	}
	return []string{root + ".asc", root + ".key"}, true
}

// readRoot is readRepomd, by the paths of the hub.
func readRoot(root string, content io.Reader) (*hub.Root, error) {
	md, err := readRepomd(content)
	if err != nil {
		return nil, err
	}
	r := &hub.Root{Order: md.revision, Members: make(map[string]exchange.Fact, len(md.members))}
	repository := strings.TrimSuffix(root, rootName)
	for href, fact := range md.members {
		if p, ok := hub.Canonical(repository + href); ok {
			r.Members[p] = fact
		}
	}
	return r, nil
}

// member keeps the key of a member whose name has its checksum.
func member(req *exchange.Request, _ *hub.Root) {
	if hashed(path.Base(req.Key.Path)) || req.Digest == "" {
		req.Key.Variant = ""
	}
}

// Gate publishes repomd.xml, and refuses a metalink that comes for anything else.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return h.generations.Gate(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err == nil && resp.Entry.Status == http.StatusOK && !isList(path.Base(req.Key.Path)) &&
			strings.HasPrefix(resp.Entry.Header.Get("Content-Type"), "application/metalink") {
			resp.Body.Close()
			return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "the mirror answers with a list of mirrors",
				Err: fmt.Errorf("metalink for %v from %s", req.Key, resp.Entry.Mirror)}
		}
		return resp, err
	}), cached)
}

// Rewrite gives indexes as the client's repomd.xml lists them, learns from them,
// and leads clients of metalinks back here.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		p := req.Key.Path
		dir, base := path.Split(p)
		repository, below := strings.CutSuffix(dir, "repodata/")
		root := repository + rootName
		switch {
		case p == root:
			return h.generations.Root(ctx, next, req)
		case p == root+".asc", p == root+".key":
			return h.generations.Companion(ctx, next, req, root, false)
		case below && base != "":
			return h.index(ctx, next, req, root)
		case isPackage(base):
			return h.file(ctx, next, req)
		case isList(base) && !h.pass:
			return h.list(ctx, next, req)
		case treeOf(p) != "" && base != "":
			return h.image(ctx, next, req, treeOf(p))
		}
		return next.Get(ctx, req)
	})
}

// index answers for a file of repodata that root may list.
func (h *Hub) index(ctx context.Context, next exchange.Source, req *exchange.Request, root string) (*exchange.Response, error) {
	gen, err := h.generations.Published(ctx, next, req.Client, root)
	if !hashed(path.Base(req.Key.Path)) && errors.Is(err, hub.ErrLost) {
		return nil, err // what mirrors have under this name may be older
	}
	used, resp, ok, err := req, (*exchange.Response)(nil), false, error(nil)
	if gen != nil {
		used, resp, ok, err = h.generations.Member(ctx, next, req, gen)
	}
	if !ok {
		used = req
		resp, err = next.Get(ctx, req)
	}
	if err == nil {
		h.learn(next, used, resp)
	}
	return resp, err
}

// file answers for a package.
func (h *Hub) file(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	_, listed := h.opts.Ledger.Known(req.Key)
	return h.generations.File(ctx, next, req, listed, func(root string) bool {
		return strings.HasPrefix(req.Key.Path, strings.TrimSuffix(root, rootName))
	})
}
