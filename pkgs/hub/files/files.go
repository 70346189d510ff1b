// Package files is the hub of a plain tree of files: any path is a file or a
// listing, known by its path alone. It is what mirrors of distributions are to
// clients that only follow names (apt, dnf, apk, pacman), and the model for
// every other hub.
//
// A hub answers two questions and nothing else. Parse: which exchange does this
// client's request mean? Its Key decides what is shared, its Target what mirrors
// are asked for, its Policy how long the answer holds; whatever of the client's
// request is not in it does not exist for the rest of the way. Rewrite: what
// must change between the cache's answer and this client? Here, nothing.
//
// A hub reads no clock, opens no file, keeps no entry and asks no mirror. This
// one looks into two kinds of content only: checksum files, which teach what the
// files beside them must be, and whose signatures come with them, and listings
// with absolute links.
package files

import (
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Options of a [Hub].
type Options struct {
	Name        string        // of the mount: the keys' Hub
	Policies    *hub.Policies // by canonical path; paths without a rule are mutable
	IgnoreQuery bool          // the query neither selects content nor goes upstream

	// Hub is for hubs of their own: checksum files teach, listings lead back.
	// Without one nothing is looked into, as in the original.
	Hub *hub.Options
}

// A Hub is one plain tree. It is safe for concurrent use.
type Hub struct {
	opts        Options
	links       *hub.Links
	generations *hub.Generations // of checksum files; nil without a hub of its own
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(opts Options) *Hub {
	h := &Hub{opts: opts}
	if opts.Hub != nil {
		h.links = hub.NewLinks(opts.Hub.Mirrors, nil)
		h.generations = hub.NewGenerations(opts.Hub, hub.Format{
			Companions: signatures,
			Unordered:  true,
			Request:    func(p string) *exchange.Request { return opts.Hub.Request(p, p, freshness.Mutable, 0) },
		}, hub.GenerationOptions{})
	}
	return h
}

// Parse takes any path, and no field of the client's. The query counts, since a
// tree may be made by a program, unless the options say otherwise; an empty one
// is none.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	policy := h.opts.Policies.For(path, freshness.Mutable, 0)
	if r.URL.RawQuery != "" && !h.opts.IgnoreQuery {
		query := hub.Query(r.URL.RawQuery)
		path, target = path+"?"+query, target+"?"+query
	}
	return &exchange.Request{
		Key:    exchange.Key{Hub: h.opts.Name, Path: path},
		Target: target,
		Policy: policy,
	}, nil
}
