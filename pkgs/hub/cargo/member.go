package cargo

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
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
	name := strings.ToLower(req.Package)
	if !isName(name, lower) {
		return nil
	}
	return hub.IndexAt(h, req, indexOf(name))
}

// Merge is the lines of all parts, one a version.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	known := map[string]bool{}
	return hub.PartLines(parts, func(line []byte) error {
		var said struct {
			Vers string `json:"vers"`
		}
		if err := json.Unmarshal(line, &said); err != nil || said.Vers == "" {
			return errors.Join(errors.New("a line of no version"), err)
		}
		version, _, _ := strings.Cut(said.Vers, "+") // what is behind it does not tell versions apart
		if known[version] {
			return nil
		}
		known[version] = true
		_, err := dst.Write(append(line, '\n'))
		return err
	})
}
