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
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const (
	rules     = "conda 1 "
	maxLook   = 256 << 10 // bytes of a list, as it comes, in which info must be
	maxLooked = 10_000    // lists and folders that are remembered
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
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	from, err := url.Parse(resp.Entry.Mirror + req.Target)
	if err != nil {
		return resp, nil
	}
	if k != shards && !resp.NoStore && !req.Head {
		prefix := home
		if elsewhere {
			prefix = "/"
		}
		h.ledger.Learn(next, req, resp.Entry, prefix, h.facts(home, from))
	}
	if !elsewhere {
		return resp, nil
	}
	resp.Body.Close()
	if k != list {
		return nil, &exchange.Error{Status: http.StatusNotFound, Message: "of this channel there is repodata.json alone"}
	}
	base := req.Client.Base
	return h.hub.Edited(ctx, next, req, rules+base, func(dst io.Writer, src io.Reader) error {
		return hub.CopyJSON(dst, src, hub.JSONRules{"info/base_url": func(value []byte) ([]byte, error) {
			link, _ := hub.JSONString(value)
			if path, ok := h.elsewhere(link, from); ok {
				return hub.AppendJSONString(nil, base+path), nil
			}
			return value, nil
		}})
	})
}

// elsewhere is where an absolute base URL is below the hub; false for a relative
// one, which stays right, and for one that the hub does not have.
func (h *Hub) elsewhere(link string, from *url.URL) (path string, ok bool) {
	if !strings.Contains(link, "//") && !strings.HasPrefix(link, "/") {
		return "", false
	}
	return h.links.Map(link, from)
}

// look is next's answer, and whether its packages or shards lie elsewhere. It
// reads the beginning of a list that it has not seen; what it knows of the others
// in the folder is enough for a head.
func (h *Hub) look(ctx context.Context, next exchange.Source, req *exchange.Request, k kind, home string) (*exchange.Response, bool, error) {
	elsewhere, known := h.known(home)
	ask := req
	if req.Head && !known {
		ask = req.Clone()
		ask.Head = false
	}
	resp, err := next.Get(ctx, ask)
	if err != nil || resp.Entry.Status != http.StatusOK || ask.Head {
		return resp, elsewhere, err
	}
	if elsewhere, known = h.known(string(resp.Entry.Digest)); !known {
		head, err := io.ReadAll(io.LimitReader(resp.Body, maxLook))
		if err != nil {
			resp.Body.Close()
			return nil, false, err
		}
		from, err := url.Parse(resp.Entry.Mirror + req.Target)
		elsewhere = err == nil && h.leads(head, k, from)
		h.remember(home, elsewhere)
		if resp.Entry.Digest != "" {
			h.remember(string(resp.Entry.Digest), elsewhere)
		}
		if s, ok := resp.Body.(io.Seeker); ok {
			_, err = s.Seek(0, io.SeekStart)
		} else {
			resp.Body.Close()
			resp, err = next.Get(ctx, ask)
		}
		if err != nil {
			return nil, false, err
		}
	}
	if req.Head {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, elsewhere, nil
}

func (h *Hub) known(what string) (elsewhere, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	elsewhere, known = h.looked[what]
	return elsewhere, known
}

func (h *Hub) remember(what string, elsewhere bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.looked) >= maxLooked {
		clear(h.looked)
	}
	h.looked[what] = elsewhere
}

// leads says whether a list that begins so has its packages elsewhere.
func (h *Hub) leads(head []byte, k kind, from *url.URL) (elsewhere bool) {
	plain, err := hub.Unpack(bytes.NewReader(head))
	if err != nil {
		return false
	}
	defer plain.Close()
	saw := func(link string) {
		if _, ok := h.elsewhere(link, from); ok {
			elsewhere = true
		}
	}
	if k == shards {
		_ = readMsgpack(plain, func(path []string, text []byte, _ int64) error { // it is cut
			switch {
			case len(path) == 2 && path[0] == "info" && (path[1] == "base_url" || path[1] == "shards_base_url"):
				saw(string(text))
			case path[0] == "shards":
				return errEnough
			}
			return nil
		}, nil)
		return elsewhere
	}
	_ = hub.CopyJSON(io.Discard, plain, hub.JSONRules{
		"info/base_url": func(value []byte) ([]byte, error) {
			link, _ := hub.JSONString(value)
			saw(link)
			return value, nil
		},
		"info/": func([]byte) ([]byte, error) { return nil, errEnough },
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

// facts reads a list that lies in the folder home.
func (h *Hub) facts(home string, from *url.URL) func(io.Reader, func(string, exchange.Fact)) error {
	return func(src io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(src)
		if err != nil {
			return err
		}
		defer plain.Close()
		dir, err := url.PathUnescape(home)
		if err != nil {
			return err
		}
		var r record
		into := func(kept *string) func([]byte) ([]byte, error) {
			return func(value []byte) ([]byte, error) {
				*kept, _ = hub.JSONString(value)
				return value, nil
			}
		}
		changes := hub.JSONRules{"info/base_url": func(value []byte) ([]byte, error) {
			link, _ := hub.JSONString(value)
			dir = ""
			if path, ok := h.links.Map(link, from); ok {
				if path, err := url.PathUnescape(path); err == nil {
					dir = strings.TrimSuffix(path, "/") + "/"
				}
			}
			return value, nil
		}}
		for member, ext := range map[string]string{"packages": ".tar.bz2", "packages.conda": ".conda"} {
			each := member + "/*/"
			changes[each+"name"], changes[each+"version"], changes[each+"build"] = into(&r.name), into(&r.version), into(&r.build)
			changes[each+"sha256"], changes[each+"md5"] = into(&r.sha256), into(&r.md5)
			changes[each+"size"] = func(value []byte) ([]byte, error) {
				r.size, _ = strconv.ParseInt(string(value), 10, 64)
				return value, nil
			}
			changes[each] = func([]byte) ([]byte, error) {
				if dir != "" && r.name != "" {
					r.teach(dir+r.name+"-"+r.version+"-"+r.build+ext, teach)
				}
				r = record{}
				return nil, nil
			}
		}
		return hub.CopyJSON(io.Discard, plain, changes)
	}
}

// shardFacts reads a shard of the subdir whose folder is home: its packages lie
// there, unless the index says otherwise, and then there are no shards here.
func shardFacts(home string) func(io.Reader, func(string, exchange.Fact)) error {
	return func(src io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(src)
		if err != nil {
			return err
		}
		defer plain.Close()
		dir, err := url.PathUnescape(home)
		if err != nil {
			return err
		}
		var r record
		return readMsgpack(plain, func(path []string, text []byte, n int64) error {
			if len(path) != 3 {
				return nil
			}
			switch path[2] {
			case "sha256":
				r.sha256 = sumText(text, 32)
			case "md5":
				r.md5 = sumText(text, 16)
			case "size":
				r.size = n
			}
			return nil
		}, func(path []string) {
			if len(path) == 2 && (path[0] == "packages" || path[0] == "packages.conda") {
				r.teach(dir+path[1], teach)
				r = record{}
			}
		})
	}
}

// sumText is a sum of size bytes in hexadecimal, which it may be already.
func sumText(sum []byte, size int) string {
	if len(sum) == size {
		return hex.EncodeToString(sum)
	}
	return string(sum)
}
