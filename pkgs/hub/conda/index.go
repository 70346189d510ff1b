package conda

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/msgpack"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const (
	rules   = "conda 1"
	maxLook = 256 << 10 // bytes of a list, as it comes, in which info must be
)

// errEnough ends the reading of a list.
var errEnough = errors.New("read enough")

// list is the answer for a list of packages, or an index of shards. Where it leads
// to packages that lie elsewhere, there is one form of it.
//
// BUG: where info is behind the packages, or far from the beginning, it is not
// seen, and clients take packages from where it says.
func (h *Hub) list(ctx context.Context, next exchange.Source, req *exchange.Request, k kind, home string) (*exchange.Response, error) {
	resp, elsewhere, err := h.look(ctx, next, req, k, home)
	switch {
	case err != nil || resp.Entry.Status != http.StatusOK:
		return resp, err
	case !elsewhere && k == shards:
		return resp, nil
	case !elsewhere:
		from, _ := url.Parse(resp.Entry.Mirror + req.Target)
		h.hub.Learn(next, req, resp, home, func(r io.Reader, teach hub.Teach) error {
			return copyList(io.Discard, r, hub.NewCopy(h.links, "", from, teach), home)
		})
		return resp, nil
	}
	resp.Body.Close()
	if k != list {
		return nil, &exchange.Error{Status: http.StatusNotFound, Message: "of this channel there is repodata.json alone"}
	}
	return h.hub.Copied(ctx, next, req, hub.Index{
		Rules: rules, Base: req.Client.Base, Links: h.links, Prefix: "/",
		Copy: func(dst io.Writer, src io.Reader, c *hub.Copy) error { return copyList(dst, src, c, home) },
	})
}

// isRelative says that a base URL stays right below the hub.
func isRelative(link string) bool {
	return !strings.Contains(link, "//") && !strings.HasPrefix(link, "/")
}

// look is next's answer, and whether its packages or shards lie elsewhere. It
// reads the beginning of a list that it has not seen; what it knows of the others
// in the folder is enough for a head.
func (h *Hub) look(ctx context.Context, next exchange.Source, req *exchange.Request, k kind, home string) (*exchange.Response, bool, error) {
	elsewhere, known := h.looked.Get(home)
	ask := req
	if req.Head && !known {
		ask = req.Clone()
		ask.Head = false
	}
	resp, err := next.Get(ctx, ask)
	if err != nil || resp.Entry.Status != http.StatusOK || ask.Head {
		return resp, elsewhere, err
	}
	digest := string(resp.Entry.Digest)
	if elsewhere, known = h.looked.Get(digest); !known {
		var head []byte
		if head, resp.Body, err = hub.Peek(resp.Body, maxLook); err != nil {
			return nil, false, err
		}
		from, err := url.Parse(resp.Entry.Mirror + req.Target)
		elsewhere = err == nil && h.leads(head, k, from)
		h.looked.Put(home, elsewhere)
		if digest != "" {
			h.looked.Put(digest, elsewhere)
		}
	}
	if req.Head {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, elsewhere, nil
}

// leads says whether a list that begins so has its packages elsewhere: at an absolute
// base URL that is below the hub.
func (h *Hub) leads(head []byte, k kind, from *url.URL) (elsewhere bool) {
	plain, err := hub.Unpack(bytes.NewReader(head))
	if err != nil {
		return false
	}
	defer plain.Close()
	saw := func(link string) {
		_, ok := h.links.Map(link, from)
		elsewhere = elsewhere || ok && !isRelative(link)
	}
	if k == shards {
		_ = msgpack.Walk(plain, msgpack.Visitor{Scalar: func(keys []string, text []byte, _ int64) error { // it is cut
			switch {
			case len(keys) == 2 && keys[0] == "info" && (keys[1] == "base_url" || keys[1] == "shards_base_url"):
				saw(string(text))
			case keys[0] == "shards":
				return errEnough
			}
			return nil
		}})
		return elsewhere
	}
	_ = hub.CopyJSON(io.Discard, plain, hub.JSONRules{
		"info/base_url": func(value []byte) ([]byte, error) {
			link, _ := hub.JSONString(value)
			saw(link)
			return value, nil
		},
		"info/": hub.JSONEnd(func() error { return errEnough }),
	})
	return elsewhere
}

// A record is what a list says of one package.
type record struct {
	name, version, build, sha256, md5 string
	size                              int64
}

// teach teaches a record of a package whose file is at path, not encoded.
func (r *record) teach(path string, teach func(string, exchange.Fact)) {
	f := exchange.Fact{Size: r.size}
	for _, s := range [...]string{"sha256:" + r.sha256, "md5:" + r.md5} {
		if digest, err := exchange.ParseDigest(s); err == nil {
			f.Digest = digest
			break
		}
	}
	key, ok := hub.Canonical(path)
	if !ok || f.Digest == "" && f.Size == 0 {
		return
	}
	if k, _ := classify(key); k == artifact {
		teach(key, f)
	}
}

// copyList copies a list that lies in the folder home, and teaches what it says: an
// absolute base URL leads to the hub.
func copyList(dst io.Writer, src io.Reader, c *hub.Copy, home string) error {
	dir, err := url.PathUnescape(home)
	if err != nil {
		return err
	}
	var r record
	all := hub.JSONRules{"info/base_url": func(value []byte) ([]byte, error) {
		link, _ := hub.JSONString(value)
		path, ok := c.Map(link)
		if dir, err = url.PathUnescape(path); err != nil || !ok {
			dir = ""
			return value, nil
		}
		dir = strings.TrimSuffix(dir, "/") + "/"
		if isRelative(link) {
			return value, nil
		}
		return hub.AppendJSONString(nil, c.Base+path), nil
	}}
	for member, ext := range map[string]string{"packages": ".tar.bz2", "packages.conda": ".conda"} {
		each := member + "/*/"
		for name, kept := range map[string]*string{"name": &r.name, "version": &r.version, "build": &r.build, "sha256": &r.sha256, "md5": &r.md5} {
			all[each+name] = hub.JSONInto(kept)
		}
		all[each+"size"] = func(value []byte) ([]byte, error) {
			r.size, _ = strconv.ParseInt(string(value), 10, 64)
			return value, nil
		}
		all[each] = hub.JSONEnd(func() error {
			if dir != "" && r.name != "" {
				r.teach(dir+r.name+"-"+r.version+"-"+r.build+ext, c.Tell)
			}
			r = record{}
			return nil
		})
	}
	return hub.CopyJSON(dst, src, all)
}

// readShard reads a shard of the subdir whose folder is home: its packages lie
// there, unless the index says otherwise, and then there are no shards here.
func readShard(home string) func(plain io.Reader, teach hub.Teach) error {
	return func(plain io.Reader, teach hub.Teach) error {
		dir, err := url.PathUnescape(home)
		if err != nil {
			return err
		}
		var r record
		scalar := func(keys []string, text []byte, n int64) error {
			if len(keys) != 3 {
				return nil
			}
			switch keys[2] {
			case "sha256":
				r.sha256 = sumText(text, 32)
			case "md5":
				r.md5 = sumText(text, 16)
			case "size":
				r.size = n
			}
			return nil
		}
		end := func(keys []string) {
			if len(keys) == 2 && (keys[0] == "packages" || keys[0] == "packages.conda") {
				r.teach(dir+keys[1], teach)
				r = record{}
			}
		}
		return msgpack.Walk(plain, msgpack.Visitor{Scalar: scalar, End: end})
	}
}

// sumText is a sum of size bytes in hexadecimal, which it may be already.
func sumText(sum []byte, size int) string {
	if len(sum) == size {
		return hex.EncodeToString(sum)
	}
	return string(sum)
}
