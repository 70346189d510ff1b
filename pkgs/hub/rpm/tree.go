package rpm

import (
	"context"
	"io"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/ini"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// treeOf is the directory of the tree that has p as an image, up to the slash; ""
// if p is none.
func treeOf(p string) string {
	for _, below := range [...]string{"/images/", "/EFI/", "/isolinux/"} {
		if i := strings.Index(p, below); i >= 0 {
			return p[:i+1]
		}
	}
	return ""
}

// image answers for an image of the tree at dir: as .treeinfo lists it, or
// treeinfo where there is none of that name.
func (h *Hub) image(ctx context.Context, next exchange.Source, req *exchange.Request, dir string) (*exchange.Response, error) {
	list := h.request(dir+".treeinfo", dir+".treeinfo", "")
	return h.trees.Get(ctx, next, req, list.Key.Path, func(anew bool) (resp *exchange.Response, err error) {
		for _, name := range [...]string{".treeinfo", "treeinfo"} {
			ask := h.request(dir+name, dir+name, "")
			if anew {
				ask.Policy.TTL, ask.Policy.StaleWhileRevalidate = 0, 0
			}
			resp, err = next.Get(ctx, ask)
			if err != nil || !hub.Missing(resp.Entry.Status) || name == "treeinfo" {
				return resp, err
			}
			resp.Body.Close()
		}
		return resp, err
	})
}

// readTree teaches the checksums of a .treeinfo at p: lines "FILE = sha256:HEX" of
// its section [checksums]. repomd.xml is among them, but goes its own way.
func readTree(p string, r io.Reader, teach func(p string, f exchange.Fact)) error {
	dir := path.Dir(p)
	if dir != "/" {
		dir += "/"
	}
	return ini.Read(r, func(group, name, sum string) error {
		if group != "checksums" || strings.HasPrefix(name, "repodata/") {
			return nil
		}
		algorithm, digits, _ := strings.Cut(sum, ":")
		d := digest(algorithm, []byte(digits))
		if to, ok := hub.Beside(dir, name); ok && d != "" {
			teach(to, exchange.Fact{Digest: d})
		}
		return nil
	})
}
