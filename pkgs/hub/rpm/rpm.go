// Package rpm is the hub of RPM repositories, as dnf, yum and zypper use them.
//
// Its words: repodata/repomd.xml is the root of a generation ([hub.Generations])
// and lists *members*, the other files of repodata, by size and checksum; the
// one named primary lists packages, prestodelta their deltas. A tree that can be
// booted has a .treeinfo, which lists its images.
//
// Nothing is rewritten but metalinks and mirror lists, so that clients stay with
// this hub; no signature is verified.
package rpm

import (
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// How long mutable paths stay fresh.
const (
	indexTTL = 5 * time.Minute
	otherTTL = time.Hour
)

// Options of a [Hub].
type Options struct {
	hub.GenerationOptions
	Pass bool // metalinks and lists of mirrors come as the mirror has them
}

// A Hub is one tree of repositories. It is safe for concurrent use.
type Hub struct {
	opts        hub.Options
	links       *hub.Links
	pass        bool
	generations *hub.Generations
	trees       *hub.Lists
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, opts Options) (*Hub, error) {
	if o.Name == "" {
		return nil, errors.New("rpm: no name")
	}
	h := &Hub{opts: o, links: hub.NewLinks(o.Mirrors, nil), pass: opts.Pass}
	h.trees = hub.NewLists(&h.opts, readTree)
	h.generations = hub.NewGenerations(&h.opts, hub.Format{
		Companions: companions,
		Read:       readRoot,
		Request:    func(p string) *exchange.Request { return h.request(p, p, "") },
		Member:     member,
	}, opts.GenerationOptions)
	return h, nil
}

// Parse knows every path. The query counts for lists of mirrors alone. Of the
// client's fields none does: zypper's Accept would make a redirecting mirror
// answer with a metalink.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	canonical, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	return h.request(canonical, target, r.URL.RawQuery), nil
}

// request is the exchange of a canonical path.
func (h *Hub) request(canonical, target, query string) *exchange.Request {
	class, ttl := classify(canonical)
	req := h.opts.Request(canonical, target, class, ttl)
	req.Header = http.Header{"Accept": {"*/*"}}
	base := path.Base(canonical)
	if isList(base) && query != "" {
		query = "?" + hub.Query(query)
		req.Key.Path, req.Target = req.Key.Path+query, req.Target+query
	}
	if isPackage(base) {
		req.Package, req.Version = nameVersion(hub.Name(base))
	}
	return req
}

// classify is the table of PROTOCOLS section 4.
func classify(p string) (freshness.Class, time.Duration) {
	dir, base := path.Split(p)
	switch {
	case base == "":
		return freshness.Mutable, otherTTL // a listing
	case strings.HasSuffix(dir, "/repodata/"):
		if hashed(base) {
			return freshness.Immutable, 0
		}
		return freshness.Mutable, indexTTL
	case isPackage(base):
		return freshness.Immutable, 0
	case isList(base):
		return freshness.Mutable, indexTTL
	case strings.HasSuffix(dir, "/media.1/"), base == "content", base == ".treeinfo", base == "treeinfo",
		treeOf(p) != "",
		strings.HasPrefix(base, "RPM-GPG-KEY"), strings.HasSuffix(base, ".repo"):
		return freshness.Mutable, otherTTL
	}
	return freshness.Mutable, 0
}

// hashed says that a file of repodata has its checksum in the name: HEX-NAME.
func hashed(base string) bool {
	sum, _, ok := strings.Cut(base, "-")
	if !ok || strings.Trim(sum, "0123456789abcdefABCDEF") != "" {
		return false
	}
	switch len(sum) {
	case 32, 40, 64, 96, 128:
		return true
	}
	return false
}

// isPackage says that a file of this name is a package, or the delta of one.
func isPackage(base string) bool {
	return strings.HasSuffix(base, ".rpm") || strings.HasSuffix(base, ".drpm")
}

// isList says that what is asked for is a list of mirrors.
func isList(base string) bool {
	return strings.HasPrefix(base, "metalink") || strings.HasPrefix(base, "mirrorlist")
}

// nameVersion reads NAME-VERSION-RELEASE.ARCH.rpm.
func nameVersion(base string) (name, version string) {
	base = strings.TrimSuffix(base, path.Ext(base))
	base = strings.TrimSuffix(base, path.Ext(base)) // the architecture
	name, version, _ = hub.CutRight(base, '-', 2)
	return name, version
}
