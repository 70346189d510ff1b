package cargo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Spell is a crate's name, or a pattern of names, as registries compare them: letter
// case does not count, and neither does "-" or "_".
func Spell(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// Index is the crate's file in the index.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if isIndex(req.Key.Path) {
		return req
	}
	name := strings.ToLower(req.Package)
	if name == "" || !consists(name, lower) {
		return nil
	}
	p := "/" + directory(name) + "/" + name
	index := h.hub.Request(p, p, freshness.Mutable, ttl)
	index.Package, index.Client = name, req.Client
	return index
}

// sought is the private name that a search is for; "" if it is for none.
func (h *Hub) sought(query string) string {
	if !h.hub.Members.Private() {
		return ""
	}
	fields, _ := url.ParseQuery(query) // what cannot be read is no name
	for _, values := range fields {
		for _, word := range strings.Fields(strings.Join(values, " ")) {
			if h.hub.Members.Owned(word) {
				return word
			}
		}
	}
	return ""
}

// Merge is the lines of all parts, one a version.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	known := map[string]bool{}
	for _, p := range parts {
		lines := bufio.NewScanner(p.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			var said struct {
				Vers string `json:"vers"`
			}
			if err := json.Unmarshal(line, &said); err != nil || said.Vers == "" {
				return fmt.Errorf("the index of %s has a line of no version: %w", p.Entry.Mirror, errors.Join(err))
			}
			version, _, _ := strings.Cut(said.Vers, "+") // what is behind it does not tell versions apart
			if known[version] {
				continue
			}
			known[version] = true
			if _, err := dst.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("the index of %s: %w", p.Entry.Mirror, err)
		}
	}
	return nil
}

// ask asks the members, in order, each where its own config.json says.
func (h *Hub) ask(ctx context.Context, next, cached exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	members := h.hub.Members.Names()
	if members == nil {
		return h.askMember(ctx, next, cached, req, "")
	}
	owners := h.hub.Members.Owners(req)
	var worst error
	var last *exchange.Response
	for i, member := range members {
		if len(owners) > 0 && !slices.Contains(owners, i) {
			continue
		}
		resp, err := h.askMember(ctx, next, cached, req, member)
		switch {
		case err == nil && resp.Entry.Status < http.StatusBadRequest:
			if last != nil {
				last.Body.Close()
			}
			return resp, nil
		case err == nil && last == nil:
			last = resp
		case err == nil:
			resp.Body.Close()
		case !errors.Is(err, fs.ErrNotExist) || worst == nil:
			worst = err
		}
	}
	if last != nil && (worst == nil || errors.Is(worst, fs.ErrNotExist)) {
		return last, nil
	}
	if last != nil {
		last.Body.Close()
	}
	return nil, worst
}
