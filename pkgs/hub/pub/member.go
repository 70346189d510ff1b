package pub

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Index is the listing of all versions of the package.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" || strings.Contains(req.Package, "/") || req.Policy.Class == freshness.Passthrough {
		return nil
	}
	p, ok := hub.Canonical(apiPrefix + req.Package)
	switch {
	case !ok:
		return nil
	case p == req.Key.Path:
		return req
	}
	index := h.hub.Request(p, p, freshness.Mutable, ttl)
	index.Header = http.Header{"Accept": {mediaType}}
	index.Package, index.Client = req.Package, req.Client
	return index
}

// Merge is the first part, with the versions of the others that it does not have. Links
// to archives are absolute.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	var first map[string]json.RawMessage
	var versions []json.RawMessage
	known := map[string]bool{}
	for i, p := range parts {
		var rest bytes.Buffer
		var bad error
		err := hub.SiftJSON(&rest, p.Body, map[string]func(string, []byte) []byte{"versions": func(_ string, text []byte) []byte {
			var said struct {
				Version string `json:"version"`
			}
			if err := json.Unmarshal(text, &said); err != nil || said.Version == "" {
				bad = errors.Join(errors.New("a version without one"), err)
			} else if !known[said.Version] {
				known[said.Version] = true
				versions = append(versions, bytes.Clone(text))
			}
			return nil
		}})
		if err = errors.Join(err, bad); err == nil && i == 0 {
			err = json.Unmarshal(rest.Bytes(), &first)
		}
		if err != nil {
			return fmt.Errorf("the listing of %s: %w", p.Entry.Mirror, err)
		}
	}
	if len(versions) == 0 || first == nil {
		return errors.New("listings without versions")
	}
	var err error
	if first["versions"], err = json.Marshal(versions); err != nil {
		return err
	}
	return json.NewEncoder(dst).Encode(first)
}

// about is the package that a path of kind k names, or the private one that it may
// be about.
func (h *Hub) about(k kind, path, name, query string) string {
	sure := ""
	switch {
	case k == search:
		return h.hub.Members.Sought(query)
	case k == archive && !strings.HasPrefix(path, "/packages/"): // anywhere
		sure = h.hub.Members.Suspect(strings.TrimPrefix(path, "/api/archives/"), "-")
	default:
		sure = h.hub.Members.Suspect(name, "-")
	}
	return cmp.Or(sure, hub.Name(name))
}
