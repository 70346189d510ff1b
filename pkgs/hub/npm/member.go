package npm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
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
	return h.packumentOf(req, true)
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
	text, err := hub.ReadAll(plain, maxAudit)
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

// Merge is the first part, with the versions, times and tags of the others that it
// does not have. Links to tarballs are absolute.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	full := make([]hub.Part, len(parts))
	for i, p := range parts {
		var text bytes.Buffer
		if err := absolute(&text, p); err != nil {
			return fmt.Errorf("the packument of %s: %w", p.Entry.Mirror, err)
		}
		full[i] = hub.Part{Entry: p.Entry, Body: &text}
	}
	return hub.MergeJSON(dst, full, hub.JSONMember{Name: "versions", Needed: true}, hub.JSONMember{Name: "time"}, hub.JSONMember{Name: "dist-tags"})
}

// absolute copies a packument with links to tarballs in full.
func absolute(dst io.Writer, p hub.Part) error {
	from, err := url.Parse(p.Entry.Mirror + p.Entry.Key.Path)
	if err != nil {
		return err
	}
	return hub.CopyJSON(dst, p.Body, hub.JSONRules{
		"versions/*/dist/tarball": hub.JSONChange(func(link string) (string, bool) {
			u, err := from.Parse(link)
			if err != nil {
				return "", false
			}
			to := u.String()
			return to, to != link
		}),
	})
}
