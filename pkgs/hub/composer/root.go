package composer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of the rewriter.
const rules = "composer 1 "

// Rewrite changes packages.json, and learns from it and from documents, which
// pass as they are.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if classify(req.Key.Path) != document {
			return next.Get(ctx, req)
		}
		var from *url.URL
		get := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			resp, err := next.Get(ctx, req)
			if err == nil && resp.Entry.Status == http.StatusOK {
				from, _ = url.Parse(resp.Entry.Mirror + req.Target)
				h.learn(next, req, resp)
			}
			return resp, err
		})
		if req.Key.Path != rootPath {
			return get(ctx, req)
		}
		// Links have no host: the one that a client wrote down stays right when
		// public-url changes.
		mount := ""
		if u, err := url.Parse(req.Client.Base); err == nil {
			mount = u.EscapedPath()
		}
		return h.hub.Edited(ctx, get, req, rules+mount, func(dst io.Writer, src io.Reader) error {
			return h.edit(dst, src, mount, from)
		})
	})
}

// edit copies packages.json, its links as links to the hub below mount where it
// has what they lead to.
func (h *Hub) edit(dst io.Writer, src io.Reader, mount string, from *url.URL) error {
	lead := func(value []byte) ([]byte, error) {
		link, ok := hub.JSONString(value)
		if !ok {
			return value, nil
		}
		if path, ok := h.mapTemplate(link, from); ok {
			return hub.AppendJSONString(nil, mount+path), nil
		}
		return value, nil
	}
	fixed := func(text []byte) func([]byte) ([]byte, error) {
		return func([]byte) ([]byte, error) { return text, nil }
	}
	dists := hub.AppendJSONString(nil, mount+distPrefix+"%package%/%version%/%reference%.%type%")
	changes := hub.JSONRules{
		"mirrors/*/dist-url": fixed(dists), "mirrors/*/preferred": fixed([]byte("true")),
		"notify": fixed([]byte("null")), "notify-batch": fixed([]byte("null")),
	}
	for _, name := range [...]string{
		"metadata-url", "providers-url", "providers-lazy-url", "providers-api", "list", "search", "security-advisories/api-url",
	} {
		changes[name] = lead
	}
	in := bufio.NewReader(src)
	if err := opens(in); err != nil {
		return err
	}
	// A mirror before all members: one that the repository has itself comes later,
	// and so counts instead; it was changed to be the same.
	head := &replacing{dst: dst, text: append(append([]byte(`{"mirrors":[{"dist-url":`), dists...), `,"preferred":true}],`...)}
	return hub.CopyJSON(head, io.MultiReader(strings.NewReader("{"), in), changes)
}

// opens reads up to the first member of an object that has one.
func opens(in *bufio.Reader) error {
	if bom, _ := in.Peek(3); string(bom) == "\ufeff" {
		in.Discard(3)
	}
	for open := false; ; {
		switch ch, err := in.ReadByte(); {
		case err != nil:
			return fmt.Errorf("packages.json: %w", noEOF(err))
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

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// replacing writes text in place of the first byte.
type replacing struct {
	dst  io.Writer
	text []byte // nil: it was written
}

func (r *replacing) Write(p []byte) (int, error) {
	if r.text == nil || len(p) == 0 {
		return r.dst.Write(p)
	}
	_, err := r.dst.Write(r.text)
	if err != nil {
		return 0, err
	}
	r.text = nil
	n, err := r.dst.Write(p[1:])
	return n + 1, err
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
