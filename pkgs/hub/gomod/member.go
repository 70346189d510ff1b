package gomod

import (
	"errors"
	"io"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
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
	return hub.IndexAt(h, req, "/"+escaped+listSuffix)
}

const (
	listSuffix  = "/@v/list"
	maxVersions = 1_000_000 // of one module
)

// Merge is all versions of all parts.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	known := map[string]bool{}
	var versions []string
	err := hub.PartLines(parts, func(line []byte) error {
		v := string(line)
		if !semver.IsValid(v) || known[v] {
			return nil
		}
		known[v] = true
		versions = append(versions, v)
		if len(versions) > maxVersions {
			return errors.New("too many versions")
		}
		return nil
	})
	if err != nil {
		return err
	}
	semver.Sort(versions)
	for _, v := range versions {
		if _, err := io.WriteString(dst, v+"\n"); err != nil {
			return err
		}
	}
	return nil
}
