package cacheproxy

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Meaning is what a URL that clients ask for comes to.
type Meaning struct {
	Hub     *Hub
	Path    string // of the key: what the hub calls it, and the store and the log with it
	Variant string // of the key, for a client that names no preference
	Target  string // path and query on every mirror
	Digest  string // that the content must have, where the URL itself says so; else ""
	Package string // what it is of, where the hub can tell; else ""
}

// Meaning says what a GET of u comes to, which is routed as a server would (only
// host, path and query count), and read by its hub: spellings of one package are
// one key, and /v2/ is the registries'. What a hub has learned from indexes, such
// as second hosts of its files, it does not know. An error that matches
// [fs.ErrNotExist] says that no hub, or not its protocol, has such a URL.
func (c *Config) Meaning(u *url.URL) (*Meaning, error) {
	all := c.Served()
	var t routes
	for i := range all {
		t.add(&target{mounted: &mounted{config: &all[i]}})
	}
	r := &http.Request{
		Method: http.MethodGet, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery},
	}
	to, _, below := t.find(r)
	if to == nil {
		return nil, fmt.Errorf("no hub serves %s: %w", u.EscapedPath(), fs.ErrNotExist)
	}
	h := to.mounted.config
	module, err := h.parser()
	if err != nil {
		return nil, err
	}
	r.URL = below
	req, err := module.Parse(r)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %s: %w", h.Name, below.EscapedPath(), err)
	}
	return &Meaning{
		Hub: h, Path: req.Key.Path, Variant: req.Key.Variant, Target: req.Target, Digest: string(req.Digest), Package: packageOf(req),
	}, nil
}

// parser is the type of h, to have URLs read: it has no mirror to ask, and no ledger.
func (h *Hub) parser() (hub.Hub, error) {
	members, err := newMembers(h)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %w", h.Name, err)
	}
	options := hub.Options{Name: h.Name, Policies: newPolicies(&h.Cache), Files: map[string]*url.URL{}, Members: members}
	for i := range h.Upstream {
		options.Mirrors = append(options.Mirrors, h.Upstream[i].Server.URL)
	}
	for alias, base := range h.Options.Files {
		options.Files[alias] = base.URL
	}
	module, err := hubs[h.Module()].new(options, &h.Options)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %w", h.Name, err)
	}
	return module, nil
}

func packageOf(req *exchange.Request) string {
	if req.Version == "" {
		return req.Package
	}
	return req.Package + " " + req.Version
}
