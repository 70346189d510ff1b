// Package oci is the hub of container registries: the pulling half of the OCI
// distribution specification 1.1, which Docker's registry API v2 became.
//
// Its words: a name is a repository's ("team/app"); a reference is a tag, which
// moves, or a digest, which is content. Blobs and manifests by digest are the
// same in every repository, so there is one object a hub for each, stored under
// the name "_", which no repository can have. A tag is worth a digest: to
// validate it the registry is asked for the head alone, which the large ones do
// not count as a pull, and the manifest comes by its digest (gate.go). While a
// registry says that it may hardly be asked any more, a tag that has moved is
// answered as it was (quota.go).
//
// Bodies are never changed, since clients know them by digest. What manifests
// say of sizes goes to the ledger.
//
// Which of several registries a client means is for the server to find out: it
// sees the Host, ?ns= and the first component of the name. Here the name is the
// registry's own. Tokens are fetched below the mirrors, by the transport that
// [Authorize] makes (auth.go). Pushing, catalogs and the conversion of manifests
// into each other are not for this hub.
package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// How long answers stay fresh that can change.
const (
	TagTTL  = 5 * time.Minute
	listTTL = time.Minute
)

// Options of a [Hub] beyond those of every hub.
type Options struct {
	// Library: a name of one component is that below "library/", as some clients of
	// the registry that has such a place write it ("alpine").
	Library bool
}

// A Hub is one registry. It is safe for concurrent use.
type Hub struct {
	options hub.Options
	library bool
	quotas  quotas
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Refuser    = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, opts Options) (*Hub, error) {
	if o.Name == "" {
		return nil, errors.New("oci: no name")
	}
	return &Hub{options: o, library: opts.Library}, nil
}

// root is the path by which clients find out that this is a registry.
const root = "/v2/"

// Parse knows the paths of pulling, and of a query all but ns, which has chosen
// the hub already. Of the client's fields Accept counts, for manifests.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, _, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if path == "/v2" || path == root {
		return &exchange.Request{
			Key: exchange.Key{Hub: h.options.Name, Path: root}, Target: root,
			Policy: freshness.Policy{Class: freshness.Passthrough},
		}, nil
	}
	p, err := locate(path)
	if err != nil {
		return nil, err
	}
	if h.library && p.name != anyName && !strings.Contains(p.name, "/") {
		p.name = "library/" + p.name
		path = p.String()
	}
	switch p.kind {
	case manifests:
		return h.manifest(p, accepted(r.Header["Accept"])), nil
	case blobs:
		return h.content(p), nil
	}
	if query := queryOf(r.URL.RawQuery); query != "" {
		path += "?" + query
	}
	req := &exchange.Request{
		Key:     exchange.Key{Hub: h.options.Name, Path: path},
		Target:  path,
		Policy:  h.options.Policies.For(p.String(), freshness.Mutable, listTTL),
		Package: p.name,
	}
	if p.kind == referrers {
		req.Header = http.Header{"Accept": {types[ociIndex].mediaType}}
	}
	return req, nil
}

// manifest is the request of one, by tag or digest, from who accepts these types.
//
// By tag, the registry chooses by them what to answer, so they are the variant;
// who knows all types in use gets what the tag really is. By digest there is
// nothing to choose: Accept stands in the request for [Hub.Rewrite] alone, and
// the registry is told of all types.
func (h *Hub) manifest(p place, accept typeSet) *exchange.Request {
	if p.digest != "" {
		req := h.content(p)
		req.Header = accept.header()
		return req
	}
	path := p.String()
	return &exchange.Request{
		Key:     exchange.Key{Hub: h.options.Name, Path: path, Variant: accept.variant()},
		Target:  path,
		Header:  accept.header(),
		Policy:  h.options.Policies.For(path, freshness.Mutable, TagTTL),
		Package: p.name, Version: p.reference,
	}
}

// content is the request of what a digest names. That one repository does not
// have it says nothing of the others, so absence is not remembered.
func (h *Hub) content(p place) *exchange.Request {
	anywhere := p
	anywhere.name = anyName
	key := anywhere.String()
	policy := h.options.Policies.For(key, freshness.Immutable, 0)
	policy.Negative = 0
	return &exchange.Request{
		Key:     exchange.Key{Hub: h.options.Name, Path: key},
		Target:  p.String(),
		Policy:  policy,
		Digest:  p.digest,
		Package: p.name, Version: p.reference,
	}
}

// The kinds of things in a repository, as they stand in paths.
const (
	manifests = "manifests"
	blobs     = "blobs"
	tags      = "tags"
	referrers = "referrers"
)

// anyName stands in keys for the repository of what is known by digest.
const anyName = "_"

// A place is what a path means.
type place struct {
	name      string
	kind      string
	reference string          // tag or digest; "list" of tags
	digest    exchange.Digest // the reference, where it is the digest of content
}

func (p place) String() string { return root + p.name + "/" + p.kind + "/" + p.reference }

// locate reads a canonical path. It is read from its end, since a name may have
// components such as "blobs".
func locate(path string) (place, error) {
	rest, ok := strings.CutPrefix(path, root)
	if !ok {
		return place{}, fmt.Errorf("no path of a registry: %w", fs.ErrNotExist)
	}
	if rest == "_catalog" || strings.Contains(rest, "/blobs/uploads/") {
		return place{}, refusal(http.StatusMethodNotAllowed, "only pulling is supported")
	}
	rest, reference, ok1 := cutLast(rest)
	name, kind, ok2 := cutLast(rest)
	if !ok1 || !ok2 {
		return place{}, refusal(http.StatusNotFound, nameUnknown)
	}
	p := place{name: name, kind: kind, reference: reference}
	switch kind {
	case manifests, blobs, referrers:
	case tags:
		if reference != "list" {
			return place{}, refusal(http.StatusNotFound, nameUnknown)
		}
	default:
		return place{}, refusal(http.StatusNotFound, nameUnknown)
	}
	if isDigest := kind != tags && (kind != manifests || strings.Contains(reference, ":")); isDigest {
		d, ok := strong(reference)
		if !ok {
			return place{}, refusal(http.StatusBadRequest, digestInvalid)
		}
		if kind != referrers { // a list about content is not the content
			p.digest = d
		}
	} else if kind == manifests && !validTag(reference) {
		return place{}, refusal(http.StatusBadRequest, tagInvalid)
	}
	if !validName(name) && (name != anyName || p.digest == "") {
		return place{}, refusal(http.StatusBadRequest, nameInvalid)
	}
	return p, nil
}

// locateTarget is locate of a request that Parse made.
func locateTarget(req *exchange.Request) (place, error) {
	path, _, _ := strings.Cut(req.Target, "?")
	return locate(path)
}

func cutLast(path string) (before, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", false
	}
	return path[:i], path[i+1:], true
}

// strong is a digest that names content: of the algorithms that can be checked,
// those that cannot be forged.
func strong(s string) (exchange.Digest, bool) {
	d, err := exchange.ParseDigest(s)
	switch d.Algorithm() {
	case "sha256", "sha384", "sha512":
		return d, err == nil
	}
	return "", false
}

// validName checks components of [a-z0-9]+ with ".", "_", "__" or any number of
// "-" between, separated by slashes.
func validName(name string) bool {
	if len(name) > 255 {
		return false
	}
	last := byte('/') // what the character before was; separators and slashes need an alphanumeric one
	run := 0          // of separators
	for i := range len(name) + 1 {
		ch := byte('/')
		if i < len(name) {
			ch = name[i]
		}
		switch {
		case alphanumeric(ch):
			run = 0
		case !alphanumeric(last):
			if run++; ch != last || ch == '/' || ch == '.' || ch == '_' && run > 2 {
				return false
			}
		case ch == '/', ch == '.', ch == '_', ch == '-':
			run = 1
		default:
			return false
		}
		last = ch
	}
	return true
}

func alphanumeric(ch byte) bool { return 'a' <= ch && ch <= 'z' || '0' <= ch && ch <= '9' }

// validTag checks [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func validTag(tag string) bool {
	if tag == "" || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for i := range len(tag) {
		if ch := tag[i]; !alphanumeric(ch) && (ch < 'A' || ch > 'Z') && ch != '_' && ch != '.' && ch != '-' {
			return false
		}
	}
	return true
}

// queryOf is a raw query without ns, as keys and targets have it.
func queryOf(raw string) string {
	if raw == "" {
		return ""
	}
	var kept []string
	for field := range strings.SplitSeq(raw, "&") {
		if name, _, _ := strings.Cut(field, "="); name != "" && name != "ns" {
			kept = append(kept, hub.Query(field))
		}
	}
	return strings.Join(kept, "&")
}
