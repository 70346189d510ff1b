package cargo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// maxConfig is how long config.json may be.
const maxConfig = 64 << 10

// A config is a registry's config.json.
type config struct {
	DL  string `json:"dl"`
	API string `json:"api"`
}

func readConfig(r io.Reader) (c config, text []byte, err error) {
	if text, err = hub.ReadAll(r, maxConfig); err != nil {
		return c, nil, err
	}
	if err = json.Unmarshal(text, &c); err == nil && c.DL == "" {
		err = errors.New("config.json without dl")
	}
	return c, text, err
}

// config is the config.json of the registry, or of one of its members, as it came.
func (h *Hub) config(ctx context.Context, cached exchange.Source, member string) (c config, err error) {
	req, _ := hub.Follow(h, configPath) // there is such a path
	if member != "" {
		req.Member, req.Key.Variant = member, "member "+member
	}
	resp, err := hub.Consult(ctx, cached, req, func(r io.Reader, _ *url.URL) (err error) {
		c, _, err = readConfig(r)
		return err
	})
	if err == nil && resp.Entry.Status != http.StatusOK {
		err = fmt.Errorf("status %d", resp.Entry.Status)
	}
	return c, err
}

// Markers of dl.
const (
	markCrate       = "{crate}"
	markVersion     = "{version}"
	markPrefix      = "{prefix}"
	markLowerPrefix = "{lowerprefix}"
	markChecksum    = "{sha256-checksum}"
)

var marks = []string{markCrate, markVersion, markPrefix, markLowerPrefix, markChecksum}

// crate is where a crate lies: dl with its markers replaced, or with a path of
// its own behind it if it has none.
func (c config) crate(name, version, sum string) string {
	template := c.DL
	if !slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(template, mark) }) {
		template += "/" + markCrate + "/" + markVersion + "/download"
	}
	prefix := directory(name)
	return strings.NewReplacer(
		markCrate, name, markVersion, version, markChecksum, sum,
		markPrefix, prefix, markLowerPrefix, strings.ToLower(prefix),
	).Replace(template)
}

// search is where a search goes; "" if there is none.
func (c config) search(query string) string {
	if c.API == "" {
		return ""
	}
	return strings.TrimSuffix(c.API, "/") + searchPath + "?" + query
}

// editConfig leads a client of this base to the hub: for crates, if it knows
// where they lie; for searches likewise, which else there are none of. Then no
// token is asked for: the client's would go nowhere.
func (h *Hub) editConfig(base string) hub.Edit {
	return func(dst io.Writer, src io.Reader) error {
		c, text, err := readConfig(src)
		if err != nil {
			return err
		}
		if _, _, ok := h.links.Locate(c.crate("crate", "1.0.0", strings.Repeat("0", 64)), nil); !ok {
			if h.hub.Log != nil {
				h.hub.Log.Warn("crates pass the proxy by: options.files has no base for them", "hub", h.hub.Name, "dl", c.DL)
			}
			_, err := dst.Write(text)
			return err
		}
		api := []byte("null")
		if _, _, ok := h.links.Locate(c.search(""), nil); ok {
			api = hub.AppendJSONString(nil, base)
		}
		dl := hub.AppendJSONString(nil, base+cratePrefix+markCrate+"/"+markVersion+"/"+markChecksum)
		return hub.CopyJSON(dst, bytes.NewReader(text), hub.JSONRules{
			"dl": hub.JSONSet(dl), "api": hub.JSONSet(api), "auth-required": hub.JSONSet([]byte("false")),
		})
	}
}
