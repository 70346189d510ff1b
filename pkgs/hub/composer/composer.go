// Package composer is the hub of Composer repositories, from which PHP's packages
// come (https://getcomposer.org/doc/05-repositories.md#composer).
//
// Its words: packages.json is the root, which says by templates where the rest
// is; a document is a package's metadata, one for releases and one, NAME~dev.json,
// for branches; a dist is the archive that is installed; its reference is the
// commit that it was made from, a mirror a template of where dists may be had.
//
// packages.json is changed for each client (root.go): its links lead to this hub,
// and a mirror is added that leads dists to /_d/VENDOR/NAME/VERSION/REFERENCE.TYPE.
// So documents pass as they are, lock files name the origin as well as the hub, and
// Composer goes on to the origin where the hub does not have a dist. Where that
// really lies says the document (dist.go), and it must be below a mirror or a
// second host; what it says of its content, SHA-1 at best, the ledger is taught.
//
// It publishes nothing, and does not tell the origin what was installed
// (notify-batch). Dists of a repository that has neither metadata-url nor its
// packages in packages.json (version 1) pass it by.
package composer

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub   hub.Options
	links *hub.Links

	template atomic.Pointer[string] // metadata-url, as packages.json had it a moment ago; nil: not known
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
	_ hub.Poster     = (*Hub)(nil)
	_ hub.Refuser    = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub { return &Hub{hub: o, links: o.Links()} }

const (
	ttl        = 5 * time.Minute
	rootPath   = "/packages.json"
	distPrefix = "/_d/"
	advisories = "/security-advisories/"
)

// A kind is what a path is.
type kind uint8

const (
	unknown  kind = iota
	document      // of a package, or another one that changes
	hashed        // one that is named by its SHA-256
	query         // passed through
	archive       // a dist
)

// kinds is how paths of each kind are treated.
var kinds = [...]hub.Kind{
	document: {TTL: ttl},
	hashed:   {Class: freshness.Immutable},
	query:    {Class: freshness.Passthrough, Query: true},
}

var byHash = regexp.MustCompile(`\$([0-9a-f]{64})\.json$`)

// classify says what a canonical path is. Nearly all names are the repository's
// to choose.
func classify(p string) kind {
	p, _, _ = strings.Cut(p, "?")
	if rest, second := strings.CutPrefix(p, hub.FilePrefix); second {
		_, rest, _ = strings.Cut(rest, "/")
		p = "/" + rest
	}
	switch base := path.Base(p); {
	case strings.HasPrefix(p, distPrefix):
		return archive
	case strings.HasSuffix(p, advisories), base == "search.json", base == "list.json", strings.HasPrefix(p, "/providers/"):
		return query
	case byHash.MatchString(p):
		return hashed
	case strings.HasSuffix(base, ".json") && base != ".json":
		return document
	}
	return unknown
}

// Parse knows packages.json and what it may lead to: documents, searches, lists,
// and dists. The query counts where it passes through.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	asked, err := h.hub.Asked(r)
	if err != nil {
		return nil, err
	}
	p := asked.Path
	k := classify(p)
	switch {
	case k == unknown, k == archive && asked.Origin != "":
		return nil, hub.NoPath(p)
	case k == archive:
		return parseDist(asked)
	}
	req := asked.Request(kinds[k])
	switch k {
	case document:
		req.Package = cmp.Or(h.owned(p), packageOf(p))
	case hashed:
		req.Package = h.owned(byHash.ReplaceAllString(p, ""))
		req.Digest = exchange.Digest("sha256:" + byHash.FindStringSubmatch(p)[1])
	case query:
		req.Package = cmp.Or(h.owned(p), h.hub.Members.Sought(asked.Query))
	}
	return req, nil
}

// packageName is of a package as Composer allows it.
var packageName = regexp.MustCompile(`^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$`)

// packageOf is the package of a document, whose path ends in its name wherever
// metadata-url leads; "" if there is none.
func packageOf(p string) string {
	dir, base := path.Split(strings.TrimSuffix(hub.Name(p), ".json"))
	name := path.Base(dir) + "/" + strings.TrimSuffix(base, devSuffix)
	if p == rootPath || !packageName.MatchString(name) {
		return ""
	}
	return name
}

// Post knows what composer audit sends: the packages that there may be advisories of.
func (h *Hub) Post(r *http.Request, body []byte) (*exchange.Request, error) {
	p, _, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case !strings.HasSuffix(p, advisories):
		return nil, fmt.Errorf("%s takes no POST: %w", p, fs.ErrNotExist)
	case r.Header.Get("Content-Encoding") != "" && h.hub.Members.Private():
		return nil, &exchange.Error{Status: http.StatusUnsupportedMediaType, Message: "a list of packages that is packed is not passed on here, since some names are private"}
	}
	req, err := h.Parse(r)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	req.Post = h.audited(body)
	return req, nil
}

// Refusal is what Composer can read: of any failure but a missing file, which is
// usual, it shows the warning.
func (h *Hub) Refusal(status int, message string) (contentType string, body []byte) {
	answer := map[string]string{"status": "error", "message": message}
	if status != http.StatusNotFound {
		answer["warning"] = message
	}
	return hub.JSONRefusal("application/json", answer)
}
