package composer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "composer 2 "

// Rewrite changes packages.json, and learns from it and from documents, which
// pass as they are.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		switch {
		case classify(req.Key.Path) != document:
			return next.Get(ctx, req)
		case req.Key.Path == rootPath:
			// Links have no host: the one that a client wrote down stays right when
			// public-url changes. That of advisories has one: it is what Composer asks
			// for as it stands.
			mount := ""
			if u, err := url.Parse(req.Client.Base); err == nil {
				mount = u.EscapedPath()
			}
			return h.hub.Copied(ctx, next, req, hub.Index{
				Rules: rules + req.Client.Base, Base: mount, Links: h.links, Prefix: distPrefix,
				Copy: func(dst io.Writer, src io.Reader, c *hub.Copy) error {
					return h.copyRoot(dst, src, c, strings.TrimSuffix(req.Client.Base, mount))
				},
			})
		}
		resp, err := next.Get(ctx, req)
		prefix := distPrefix
		if req.Package != "" {
			prefix += strings.ToLower(req.Package) + "/"
		}
		h.hub.Learn(next, req, resp, prefix, facts)
		return resp, err
	})
}

// copyRoot copies packages.json, its links as links to the hub where it has what they
// lead to, and tells what it says of packages itself.
//
// host is the scheme and Host of links that must have them.
func (h *Hub) copyRoot(dst io.Writer, src io.Reader, c *hub.Copy, host string) error {
	lead := func(host string) func([]byte) ([]byte, error) {
		return hub.JSONChange(func(link string) (string, bool) {
			path, ok := h.mapTemplate(link, c.From)
			return host + c.Base + path, ok
		})
	}
	dists := hub.AppendJSONString(nil, c.Base+distPrefix+"%package%/%version%/%reference%.%type%")
	changes := versionRules(tell(c.Tell))
	changes["mirrors/*/dist-url"], changes["mirrors/*/preferred"] = hub.JSONSet(dists), hub.JSONSet([]byte("true"))
	changes["notify"], changes["notify-batch"] = hub.JSONSet([]byte("null")), hub.JSONSet([]byte("null"))
	for _, name := range [...]string{
		"metadata-url", "providers-url", "providers-lazy-url", "providers-api", "list", "search",
	} {
		changes[name] = lead("")
	}
	changes["security-advisories/api-url"] = lead(host)
	in := bufio.NewReader(src)
	if err := opens(in); err != nil {
		return err
	}
	// A mirror before all members: one that the repository has itself comes later,
	// and so counts instead; it was changed to be the same.
	head := `{"mirrors":[{"dist-url":` + string(dists) + `,"preferred":true}],`
	return hub.CopyJSON(dst, io.MultiReader(strings.NewReader(head), in), changes)
}

// opens reads up to the first member of an object that has one.
func opens(in *bufio.Reader) error {
	if bom, _ := in.Peek(3); string(bom) == "\ufeff" {
		in.Discard(3)
	}
	for open := false; ; {
		switch ch, err := in.ReadByte(); {
		case err != nil:
			return fmt.Errorf("packages.json: %w", err)
		case ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r':
		case ch == '{' && !open:
			open = true
		case ch == '"' && open:
			return in.UnreadByte()
		default:
			return errors.New("packages.json is no object with members")
		}
	}
}

// The placeholders of templates, whose percent signs no URL may have, and what
// stands for them meanwhile.
var (
	hide = strings.NewReplacer("%package%", "~package~", "%hash%", "~hash~", "%query%", "~query~", "%type%", "~type~", "%vendor%", "~vendor~")
	show = strings.NewReplacer("~package~", "%package%", "~hash~", "%hash%", "~query~", "%query%", "~type~", "%type%", "~vendor~", "%vendor%")
)

// mapTemplate is where a template leads below the hub; false if elsewhere.
func (h *Hub) mapTemplate(link string, from *url.URL) (path string, ok bool) {
	path, ok = h.links.Map(hide.Replace(link), from)
	if !ok {
		return "", false
	}
	return show.Replace(path), true
}
