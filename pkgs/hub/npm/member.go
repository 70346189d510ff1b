package npm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Index is the packument, as installers ask for it.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || req.Post != nil {
		return nil
	}
	if k, _ := classify(req.Key.Path); k == packument {
		return req
	}
	index := h.hub.Request("/"+req.Package, "/"+strings.ReplaceAll(req.Package, "/", "%2f"), freshness.Mutable, ttl)
	index.Package, index.Client = req.Package, req.Client
	index.Key.Variant = abbreviated
	index.Header = http.Header{"Accept": {abbreviatedType + "; q=1.0, application/json; q=0.8, */*"}}
	return index
}

// about is the package that a path of the registry's own names below "/-/": where
// its tags or its attestations are.
func about(path string) string {
	for _, prefix := range [...]string{"/-/package/", "/-/npm/v1/attestations/"} {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		rest = strings.TrimSuffix(rest, "/dist-tags")
		if i := strings.LastIndexByte(rest, '@'); i > 0 {
			rest = rest[:i]
		}
		return rest
	}
	return ""
}

// sought is the private name that a search is for; "" if it is for none.
func (h *Hub) sought(query string) string {
	if !h.hub.Members.Private() {
		return ""
	}
	fields, _ := url.ParseQuery(query) // what cannot be read is no name
	for _, values := range fields {
		for _, word := range strings.Fields(strings.Join(values, " ")) {
			if scope, ok := strings.CutPrefix(word, "scope:"); ok {
				word = "@" + strings.TrimPrefix(scope, "@") + "/"
			}
			if word = strings.TrimSuffix(word, "/"); h.hub.Members.Owned(word) {
				return word
			}
		}
	}
	return ""
}

const maxAudit = 8 << 20 // bytes of the list of an audit, unpacked

// audited is the body of an audit without private names: nobody is asked what is
// wrong with them. Only the newer form of an audit is a list of names.
func (h *Hub) audited(path string, body []byte) ([]byte, error) {
	if !strings.HasSuffix(path, "/advisories/bulk") {
		return nil, &exchange.Error{Status: http.StatusNotFound, Message: "audits of whole trees are not passed on here, since some names are private"}
	}
	bad := func(err error) error {
		return &exchange.Error{Status: http.StatusBadRequest, Message: "the list of packages cannot be read", Err: err}
	}
	plain, err := hub.Unpack(bytes.NewReader(body))
	if err != nil {
		return nil, bad(err)
	}
	defer plain.Close()
	text, err := io.ReadAll(io.LimitReader(plain, maxAudit+1))
	if err == nil && len(text) > maxAudit {
		err = fmt.Errorf("more than %d bytes", maxAudit)
	}
	if err != nil {
		return nil, bad(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, bad(err)
	}
	for name := range all {
		if h.hub.Members.Owned(name) {
			delete(all, name)
		}
	}
	return json.Marshal(all)
}

// merges are the members of a packument that have an element a version or tag.
var merges = [...]string{"versions", "time", "dist-tags"}

// An elements is what such a member has, in its order.
type elements struct {
	names  []string
	values map[string]json.RawMessage
}

func (e *elements) add(name string, value []byte) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
		e.values[name] = bytes.Clone(value)
	}
}

func (e *elements) text() json.RawMessage {
	b := []byte("{")
	for i, name := range e.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(hub.AppendJSONString(b, name), ':'), e.values[name]...)
	}
	return append(b, '}')
}

// Merge is the first part, with the versions, times and tags of the others that it
// does not have. Links to tarballs are absolute.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	all := map[string]*elements{}
	edits := map[string]func(string, []byte) []byte{}
	for _, name := range merges {
		e := &elements{values: map[string]json.RawMessage{}}
		all[name] = e
		edits[name] = func(name string, text []byte) []byte { e.add(name, text); return nil }
	}
	var first map[string]json.RawMessage
	for i, p := range parts {
		var text bytes.Buffer
		if err := absolute(&text, p); err != nil {
			return fmt.Errorf("the packument of %s: %w", p.Entry.Mirror, err)
		}
		var rest bytes.Buffer
		if err := hub.SiftJSON(&rest, &text, edits); err != nil {
			return fmt.Errorf("the packument of %s: %w", p.Entry.Mirror, err)
		}
		if i > 0 {
			continue
		}
		if err := json.Unmarshal(rest.Bytes(), &first); err != nil {
			return fmt.Errorf("the packument of %s: %w", p.Entry.Mirror, err)
		}
	}
	if len(all["versions"].names) == 0 {
		return errors.New("packuments without versions")
	}
	for _, name := range merges {
		if e := all[name]; len(e.names) > 0 {
			first[name] = e.text()
		}
	}
	return json.NewEncoder(dst).Encode(first)
}

// absolute copies a packument with links to tarballs in full.
func absolute(dst io.Writer, p hub.Part) error {
	from, err := url.Parse(p.Entry.Mirror + p.Entry.Key.Path)
	if err != nil {
		return err
	}
	return hub.CopyJSON(dst, p.Body, hub.JSONRules{
		"versions/*/dist/tarball": func(value []byte) ([]byte, error) {
			link, ok := hub.JSONString(value)
			u, err := from.Parse(link)
			if !ok || err != nil || u.String() == link {
				return value, nil
			}
			return hub.AppendJSONString(nil, u.String()), nil
		},
	})
}
