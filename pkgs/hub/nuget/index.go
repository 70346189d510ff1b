package nuget

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "nuget 1"

// Rewrite leads the links of documents to this hub, by absolute ones, as clients
// want them.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		path, query, _ := strings.Cut(req.Key.Path, "?")
		copied := hub.Index{Rules: rules, Base: req.Client.Base, Links: h.links, Copy: copyDocument}
		switch classify(path, query) {
		case other, artifact:
			return next.Get(ctx, req)
		case service:
			copied.Copy = h.copyService
		}
		return h.hub.Copied(ctx, next, req, copied)
	})
}

// lead is where a link, or a template of links with marks in braces, leads as c has
// it; false if it leads elsewhere.
func lead(link string, c *hub.Copy) (string, bool) {
	marks := ""
	if i := strings.IndexByte(link, '{'); i >= 0 {
		link, marks = link[:i], link[i:]
	}
	to, ok := c.Lead(link)
	return to + marks, ok
}

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

// copyService copies a service index, its resources, in their order, as led.
func (h *Hub) copyService(dst io.Writer, src io.Reader, c *hub.Copy) error {
	secure := strings.HasPrefix(c.Base, "https://")
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
		failed = errors.Join(failed, hub.CopyJSON(&b, bytes.NewReader(text), hub.JSONRules{"@id": hub.JSONChange(func(link string) (string, bool) {
			to, ok := lead(link, c)
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

// copyDocument copies a registration, in one part or in pages, a leaf of one, an
// answer to a search, a page of the catalog or a list of vulnerabilities, their
// links as led.
func copyDocument(dst io.Writer, src io.Reader, c *hub.Copy) error {
	to, all := hub.JSONChange(func(link string) (string, bool) { return lead(link, c) }), hub.JSONRules{}
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
