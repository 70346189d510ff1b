package gomod

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Index is the list of the module's versions. What a checksum database says is no
// module's content.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || req.Origin != "" {
		return nil
	}
	if strings.HasSuffix(req.Key.Path, listSuffix) {
		return req
	}
	escaped, err := module.EscapePath(req.Package)
	if err != nil {
		return nil
	}
	p := "/" + escaped + listSuffix
	index := h.hub.Request(p, p, freshness.Mutable, ttl)
	index.Package, index.Client = req.Package, req.Client
	return index
}

const listSuffix = "/@v/list"

// Merge is all versions of all parts.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	known := map[string]bool{}
	var versions []string
	for _, p := range parts {
		lines := bufio.NewScanner(io.LimitReader(p.Body, maxList))
		for lines.Scan() {
			if v := strings.TrimSpace(lines.Text()); semver.IsValid(v) && !known[v] {
				known[v] = true
				versions = append(versions, v)
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("the list of %s: %w", p.Entry.Mirror, err)
		}
	}
	semver.Sort(versions)
	for _, v := range versions {
		if _, err := io.WriteString(dst, v+"\n"); err != nil {
			return err
		}
	}
	return nil
}
