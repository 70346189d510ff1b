package nuget

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "nuget 1 "

// Rewrite leads the links of documents to this hub, by absolute ones, as clients
// want them.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		path, query, _ := strings.Cut(req.Key.Path, "?")
		k := classify(path, query)
		if k == other || k == artifact {
			return next.Get(ctx, req)
		}
		var from atomic.Pointer[url.URL] // of the document that is edited, maybe by the cache on a goroutine of its own
		get := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err == nil {
				u, _ := url.Parse(resp.Entry.Mirror + req.Target)
				from.Store(u)
			}
			return resp, err
		})
		base := req.Client.Base
		return h.hub.Edited(ctx, get, req, rules+base, func(dst io.Writer, src io.Reader) error {
			lead := func(link string) (string, bool) { return h.lead(link, base, from.Load()) }
			if k == service {
				return h.editService(dst, src, strings.HasPrefix(base, "https://"), lead)
			}
			return editDocument(dst, src, lead)
		})
	})
}

// lead is where a link, or a template of links with marks in braces, leads below
// base; false if it leads elsewhere.
func (h *Hub) lead(link, base string, from *url.URL) (string, bool) {
	marks := ""
	if i := strings.IndexByte(link, '{'); i >= 0 {
		link, marks = link[:i], link[i:]
	}
	path, ok := h.links.Map(link, from)
	return base + path + marks, ok
}

// A leader says where a link leads for a client, and whether that is here.
type leader = func(link string) (string, bool)

// resources are the types whose addresses are led here, without their versions.
// RepositorySignatures must be had by https. Others, pages for people among them,
// stay as they are.
var resources = []string{
	"SearchQueryService", "SearchAutocompleteService", "RegistrationsBaseUrl", "PackageBaseAddress", "Catalog",
	"PackageDisplayMetadataUriTemplate", "PackageVersionDisplayMetadataUriTemplate", "ReadmeUriTemplate",
	"VulnerabilityInfo", signatures,
}

const signatures = "RepositorySignatures"

// publishers are the types that go from the index: nothing is published here.
var publishers = []string{"PackagePublish", "SymbolPackagePublish", "SymbolPublish"}

// editService copies a service index, its resources, in their order, as led.
func (h *Hub) editService(dst io.Writer, src io.Reader, secure bool, lead leader) error {
	seen, failed := false, error(nil)
	err := hub.SiftJSON(dst, src, map[string]func(string, []byte) []byte{"resources": func(_ string, text []byte) []byte {
		seen = true
		types, err := typesOf(text)
		failed = errors.Join(failed, err)
		one := func(of []string) bool {
			return slices.ContainsFunc(types, func(t string) bool { return slices.Contains(of, t) })
		}
		if one(publishers) {
			return nil
		}
		if !one(resources) || slices.Contains(types, signatures) && !secure {
			return text
		}
		var b bytes.Buffer
		failed = errors.Join(failed, hub.CopyJSON(&b, bytes.NewReader(text), hub.JSONRules{"@id": leading(func(link string) (string, bool) {
			to, ok := lead(link)
			if !ok && h.hub.Log != nil {
				h.hub.Log.Warn("a resource of the feed passes the proxy by: options.files has no base for it", "hub", h.hub.Name, "types", types, "link", link)
			}
			return to, ok
		})}))
		return b.Bytes()
	}})
	if !seen {
		failed = errors.Join(failed, errors.New("no service index: it has no resources"))
	}
	return errors.Join(err, failed)
}

// typesOf are the types of a resource, without their versions.
func typesOf(resource []byte) ([]string, error) {
	var r struct {
		Type json.RawMessage `json:"@type"`
	}
	if err := json.Unmarshal(resource, &r); err != nil {
		return nil, fmt.Errorf("a resource: %w", err)
	}
	var types []string
	if json.Unmarshal(r.Type, &types) != nil {
		types = make([]string, 1)
		if err := json.Unmarshal(r.Type, &types[0]); err != nil {
			return nil, fmt.Errorf("the type of a resource: %w", err)
		}
	}
	for i := range types {
		types[i], _, _ = strings.Cut(types[i], "/")
	}
	return types, nil
}

// editDocument copies a registration, in one part or in pages, a leaf of one, an
// answer to a search, a page of the catalog or a list of vulnerabilities, their
// links as led.
func editDocument(dst io.Writer, src io.Reader, lead leader) error {
	to, all := leading(lead), hub.JSONRules{}
	for _, at := range [...]string{"", "items/*/", "items/*/items/*/", "data/*/", "data/*/versions/*/"} {
		for _, name := range [...]string{
			"@id", "registration", "packageContent", "parent",
			"catalogEntry", "catalogEntry/@id", "catalogEntry/packageContent",
			"catalogEntry/dependencyGroups/*/dependencies/*/registration",
		} {
			all[at+name] = to
		}
	}
	all["*/@id"] = to // a list of vulnerabilities
	return hub.CopyJSON(dst, src, all)
}

// leading changes a link in a JSON text.
func leading(lead leader) func(value []byte) ([]byte, error) {
	return func(value []byte) ([]byte, error) {
		link, ok := hub.JSONString(value)
		if !ok {
			return value, nil
		}
		if link, ok = lead(link); !ok {
			return value, nil
		}
		return hub.AppendJSONString(nil, link), nil
	}
}
