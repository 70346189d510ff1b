package apt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// companions are those of a release's root: of an InRelease, the same release in
// its older form; of a Release, its signature. The Release of an architecture's
// directory is no root, but a member.
func companions(root string) (paths []string, ok bool) {
	dir, base := path.Split(root)
	switch {
	case base == "InRelease":
		return []string{dir + "Release", dir + "Release.gpg"}, true
	case base == "Release" && !component(dir):
		return []string{dir + "Release.gpg"}, true
	}
	return nil, false
}

// component says that a directory has the indexes of one architecture.
func component(dir string) bool {
	base := path.Base(dir)
	return strings.Contains(dir, "/dists/") && (base == "source" || strings.HasPrefix(base, "binary-"))
}

// readRoot is readRelease, by the paths of the hub.
func readRoot(root string, content io.Reader) (*hub.Root, error) {
	rel, err := readRelease(content)
	if err != nil {
		return nil, err
	}
	r := &hub.Root{Expires: rel.validUntil, ByHash: rel.byHash, Members: make(map[string]exchange.Fact, len(rel.members))}
	if !rel.date.IsZero() {
		r.Order = rel.date.Unix()
	}
	dir := path.Dir(root)
	if dir != "/" {
		dir += "/"
	}
	for name, fact := range rel.members {
		if p, ok := hub.Canonical(dir + name); ok && !isRelease(name) {
			r.Members[p] = fact
		}
	}
	return r, nil
}

// agrees says that a Release is the one inside of an InRelease: mirrors do not
// replace both at once. A signature says nothing without a key.
func agrees(root *hub.Root, companion string, content []byte) bool {
	if path.Base(companion) != "Release" {
		return true
	}
	r, err := readRoot(companion, bytes.NewReader(content))
	return err == nil && r.Order == root.Order
}

// member makes the key of a member's content its name by hash, so that both
// names are one object (PROTOCOLS section 3, by-hash).
func member(req *exchange.Request, root *hub.Root) {
	for _, a := range algorithms {
		if strings.HasPrefix(string(req.Digest), a.prefix) {
			req.Key.Path = path.Dir(req.Key.Path) + "/by-hash/" + a.name + "/" + req.Digest.Hex()
			req.Key.Variant = ""
			if root.ByHash {
				req.Target = req.Key.Path
			}
			return
		}
	}
}

// Gate publishes releases, and asks for content under its other name where
// mirrors do not have it under one.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return h.generations.Gate(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if !absent(resp, err) {
			return resp, err
		}
		for _, ask := range h.others(req) {
			if ctx.Err() != nil {
				break
			}
			other, e := next.Get(ctx, ask)
			if !absent(other, e) {
				if err == nil {
					resp.Body.Close()
				}
				return other, e
			}
			if e == nil {
				other.Body.Close()
			}
		}
		return resp, err
	}), cached)
}

// absent says that mirrors have nothing, or nothing right, under a name.
func absent(resp *exchange.Response, err error) bool {
	if err != nil {
		var e *exchange.Error
		return errors.As(err, &e) && e.Status == http.StatusBadGateway
	}
	return hub.Missing(resp.Entry.Status)
}

// others are what else may bring the content of req when mirrors do not have it
// as they were asked: it has two names, by its hash and as a release lists it.
// Under the latter one mirror is asked though all of them have sent something
// else, since they may have been updated in the meantime.
func (h *Hub) others(req *exchange.Request) (asks []*exchange.Request) {
	digest, ok := byHash(req.Key.Path)
	if !ok {
		return nil
	}
	listed, other := req.Target, req.Key.Path
	if named, ok := byHash(req.Target); ok && named == digest {
		listed = ""
		for root := range h.roots(req.Key.Path) {
			if gen := h.generations.Known(req.Client, root); gen != nil && listed == "" {
				listed = gen.Name(digest)
			}
		}
		if listed == "" {
			return nil
		}
		other = listed
	}
	ask := req.Clone()
	ask.Target = other
	asks = append(asks, ask)
	if len(req.Avoid) > 0 {
		ask := req.Clone()
		ask.Target, ask.Avoid, ask.Only = listed, nil, h.generations.Turn(req.Avoid)
		asks = append(asks, ask)
	}
	return asks
}

// roots are the roots that may list a path: those that were seen, the nearest
// first, then the one that is likely.
func (h *Hub) roots(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for end := strings.LastIndexByte(p, '/'); end >= 0; end = strings.LastIndexByte(p[:end], '/') {
			for _, name := range [...]string{"InRelease", "Release"} {
				if root := p[:end+1] + name; h.generations.Knows(root) && !yield(root) {
					return
				}
			}
		}
	}
}

// guess is the directory of the release that probably lists a path: that of the
// suite, or of a flat repository its own; "" if p is no index.
func guess(p string) string {
	if before, rest, ok := strings.Cut(p, "/dists/"); ok {
		if suite, _, ok := strings.Cut(rest, "/"); ok {
			return before + "/dists/" + suite + "/"
		}
		return ""
	}
	dir, base := path.Split(p)
	if _, ok := byHash(p); ok {
		return path.Dir(path.Dir(path.Dir(p))) + "/"
	}
	if isIndex(base) {
		return dir
	}
	return ""
}

// Rewrite gives indexes as the client's release lists them, and learns from them.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		dir, base := path.Split(req.Key.Path)
		switch {
		case base == "InRelease":
			return h.generations.Root(ctx, next, req)
		case isRelease(base) && !component(dir):
			return h.oldForm(ctx, next, req, dir, base)
		case strings.Contains(dir, "/pool/"), isPackage(base) && !strings.Contains(dir, "/dists/"):
			return h.file(ctx, next, req)
		case base == "":
			return next.Get(ctx, req)
		case installer(dir) != "" && base != sumsName:
			return h.image(ctx, next, req, installer(dir))
		}
		return h.index(ctx, next, req)
	})
}

// oldForm answers for Release and Release.gpg: as they came with the InRelease
// if there is one, else by themselves.
func (h *Hub) oldForm(ctx context.Context, next exchange.Source, req *exchange.Request, dir, base string) (*exchange.Response, error) {
	root, _, err := h.release(ctx, next, req, dir)
	switch {
	case err != nil:
		return nil, err
	case root == dir+"InRelease":
		return h.generations.Companion(ctx, next, req, root, base == "Release")
	case base == "Release":
		return h.generations.Root(ctx, next, req)
	}
	return h.generations.Companion(ctx, next, req, dir+"Release", false)
}

// release is the generation of a directory, and its root: InRelease, or Release
// where there is none; "" without an error if there is neither.
func (h *Hub) release(ctx context.Context, next exchange.Source, req *exchange.Request, dir string) (root string, gen *hub.Generation, err error) {
	for _, name := range [...]string{"InRelease", "Release"} {
		root = dir + name
		gen, err = h.generations.Published(ctx, next, req.Client, root)
		if !errors.Is(err, fs.ErrNotExist) {
			return root, gen, err
		}
	}
	return "", nil, nil
}

// index answers for a path that a release may list.
func (h *Hub) index(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	digest, hashed := byHash(req.Key.Path)
	// of answers by one generation.
	of := func(gen *hub.Generation) (*exchange.Response, bool, error) {
		ask := req
		if hashed {
			name := gen.Name(digest)
			if name == "" {
				return nil, false, nil
			}
			ask = h.request(name, req.Target)
			ask.Client, ask.Head = req.Client, req.Head
		}
		used, resp, ok, err := h.generations.Member(ctx, next, ask, gen)
		if ok && err == nil && resp != nil {
			h.learn(next, used, resp, ask.Key.Path)
		}
		return resp, ok, err
	}
	seen := false
	for root := range h.roots(req.Key.Path) {
		gen := h.generations.Known(req.Client, root)
		if gen == nil || !hashed {
			seen = true
			var err error
			gen, err = h.generations.Published(ctx, next, req.Client, root)
			if !hashed && errors.Is(err, hub.ErrLost) {
				return nil, err // what mirrors have under this name may be older
			}
		}
		if gen == nil {
			continue
		}
		if resp, ok, err := of(gen); ok {
			return resp, err
		}
	}
	if dir := guess(req.Key.Path); dir != "" && !seen {
		if _, gen, err := h.release(ctx, next, req, dir); err == nil && gen != nil {
			if resp, ok, err := of(gen); ok {
				return resp, err
			}
		}
	}
	resp, err := next.Get(ctx, req)
	if err == nil && !hashed {
		h.learn(next, req, resp, req.Key.Path)
	}
	return resp, err
}

// file answers for a package.
func (h *Hub) file(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	_, listed := h.opts.Ledger.Known(req.Key)
	return h.generations.File(ctx, next, req, listed, func(root string) bool {
		before, _, _ := strings.Cut(root, "/dists/")
		return strings.HasPrefix(req.Key.Path, strings.TrimSuffix(before, path.Base(root)))
	})
}

// sumsName lists the images of an installer, and is itself listed by the release.
const sumsName = "SHA256SUMS"

// image answers for an image of the installer at dir.
func (h *Hub) image(ctx context.Context, next exchange.Source, req *exchange.Request, dir string) (*exchange.Response, error) {
	list := h.request(dir+sumsName, dir+sumsName)
	list.Client = req.Client
	return h.images.Get(ctx, next, req, list.Key.Path, func(anew bool) (*exchange.Response, error) {
		if anew {
			for root := range h.roots(list.Key.Path) {
				h.generations.Force(ctx, next, root)
			}
		}
		return h.index(ctx, next, list)
	})
}
