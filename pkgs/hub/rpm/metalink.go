package rpm

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/xmltokens"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// rules is the version of what is made of lists of mirrors.
const rules = "rpm/1 "

// maxList bounds a list of mirrors, which is some ten KiB.
const maxList = 4 << 20

// list answers for a metalink or a mirror list, in which this hub stands for all
// mirrors. One that names none of ours is passed on as it is.
func (h *Hub) list(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	resp, err := next.Get(ctx, hub.Whole(req))
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	text, err := hub.ReadAll(resp.Body, maxList)
	resp.Body.Close()
	if err != nil {
		return nil, badList(req, err)
	}
	edit := mirrorList
	if strings.HasPrefix(path.Base(req.Key.Path), "metalink") {
		edit = metalink
		if text, err = h.matching(ctx, next, req, resp, text); err != nil {
			return nil, err
		}
	}
	here := func(link string) string { return h.here(link, req.Client.Base) }
	if err := edit(io.Discard, text, here); errors.Is(err, errForeign) {
		return next.Get(ctx, req)
	}
	source := exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return withContent(resp, text), nil
	})
	return h.opts.Edited(ctx, source, req, rules+req.Client.Base, func(dst io.Writer, _ io.Reader) error { return edit(dst, text, here) })
}

func badList(req *exchange.Request, err error) error {
	return &exchange.Error{Status: http.StatusBadGateway, Message: "the list of mirrors cannot be read", Err: fmt.Errorf("%v: %w", req.Key, err)}
}

// withContent is resp with other content, which is nowhere stored.
func withContent(resp *exchange.Response, content []byte) *exchange.Response {
	e := *resp.Entry
	e.Size, e.Digest, e.Proved = int64(len(content)), "", ""
	out := *resp
	out.Entry, out.Body = &e, io.NopCloser(bytes.NewReader(content))
	return &out
}

// matching is the metalink that belongs to the repomd.xml which is published:
// text, or the one that was seen when it did. A client refuses any other
// repomd.xml than its metalink's, so the two are of one generation.
func (h *Hub) matching(ctx context.Context, next exchange.Source, req *exchange.Request, resp *exchange.Response, text []byte) ([]byte, error) {
	root, hashes, err := h.readMetalink(text)
	if err != nil {
		return nil, badList(req, err)
	}
	if root == "" || len(hashes) == 0 || h.opts.Cache == nil {
		return text, nil
	}
	gen, err := h.generations.Current(ctx, next, root)
	if errors.Is(err, hub.ErrLost) {
		return nil, err // what it belongs to is older than what was served
	}
	if gen != nil && !slices.Contains(hashes, gen.Digest.Hex()) {
		if newer := h.generations.Force(ctx, next, root); newer != nil {
			gen = newer
		}
	}
	if gen == nil {
		return text, nil
	}
	known := slices.Contains(hashes, gen.Digest.Hex())
	kept := req.Clone()
	kept.Head = false
	kept.Key.Variant = "with " + string(gen.Digest)
	kept.Policy = freshness.Policy{Class: freshness.Immutable}
	stored, err := h.opts.Cache(exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		if !known {
			return nil, errNotKept
		}
		return withContent(resp, text), nil
	})).Get(ctx, kept)
	if err == nil {
		defer stored.Body.Close()
		old, e := io.ReadAll(io.LimitReader(stored.Body, maxList))
		if e == nil && !known {
			return old, nil
		}
	}
	if known {
		return text, nil
	}
	return nil, &exchange.Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute,
		Message: "the metalink is of another generation than the mirrors are", Err: err}
}

var errNotKept = errors.New("no metalink is kept for this generation")

// readMetalink is the place of the repomd.xml that a metalink is about, "" if it
// is none of ours, and its SHA-256 now and before (mm0:alternates), in hex.
func (h *Hub) readMetalink(text []byte) (root string, hashes []string, err error) {
	t := xmltokens.NewReader(bytes.NewReader(text))
	if err := t.Root("metalink"); err != nil {
		return "", nil, err
	}
	var value []byte
	sha256 := false
	for {
		token, err := t.Next()
		if err == io.EOF {
			return root, hashes, nil
		}
		if err != nil {
			return "", nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			value, sha256 = value[:0], xmltokens.Attr(e, "type") == "sha256"
		case xml.CharData:
			value = xmltokens.Gather(value, e)
		case xml.EndElement:
			switch {
			case e.Name.Local == "hash" && sha256:
				hashes = append(hashes, strings.ToLower(string(bytes.TrimSpace(value))))
			case e.Name.Local == "url" && root == "":
				if p := h.here(string(value), ""); strings.HasSuffix(p, "/"+rootName) {
					root = p
				}
			}
			value, sha256 = value[:0], false
		}
	}
}

// here is the link of this hub that stands for link; "" if it is not below one
// of our mirrors.
func (h *Hub) here(link, base string) string {
	p, ok := h.links.Map(strings.TrimSpace(link), nil)
	if !ok {
		return ""
	}
	return base + p
}

// errForeign says that a list names no mirror of ours.
var errForeign = errors.New("the list names no mirror of this hub")

// mirrorList keeps comments, and one line of a mirror that is ours, led here.
func mirrorList(dst io.Writer, text []byte, here func(link string) string) error {
	var out bytes.Buffer
	found := false
	for line := range bytes.Lines(text) {
		if link := bytes.TrimSpace(line); len(link) > 0 && link[0] != '#' {
			own := here(string(link))
			if found || own == "" {
				continue
			}
			found, line = true, []byte(own+"\n")
		}
		out.Write(line)
	}
	if !found {
		return errForeign
	}
	_, err := dst.Write(out.Bytes())
	return err
}

// metalink replaces the <url> elements by one of this hub's. What else is in it,
// hashes and alternates too, stays byte for byte.
func metalink(dst io.Writer, text []byte, here func(link string) string) error {
	t := xmltokens.NewReader(bytes.NewReader(text))
	if err := t.Root("metalink"); err != nil {
		return err
	}
	var out bytes.Buffer
	var kept, start int64 // text before kept is in out; the element began at start
	found := false
	var link []byte
	for {
		before := t.Offset()
		token, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "url" {
				start, link = before, link[:0]
			}
		case xml.CharData:
			link = xmltokens.Gather(link, e)
		case xml.EndElement:
			if e.Name.Local != "url" {
				continue
			}
			out.Write(text[kept:start])
			kept = t.Offset()
			if own := here(string(link)); own != "" && !found {
				found = true
				out.WriteString(`<url preference="100">`)
				xml.EscapeText(&out, []byte(own))
				out.WriteString("</url>")
			}
		}
	}
	if !found {
		return errForeign
	}
	out.Write(text[kept:])
	_, err := dst.Write(out.Bytes())
	return err
}
