package pypi

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Dater = (*Hub)(nil)

// Published is when the file that req asks for was uploaded (PEP 700), which a page
// in HTML does not say.
func (h *Hub) Published(ctx context.Context, next exchange.Source, req *exchange.Request) (time.Time, error) {
	uploads, err := h.uploads(ctx, next, req)
	return uploads[fileName(req.Key.Path)], err
}

// fileName is the name of the distribution that a link or a path is about.
func fileName(link string) string {
	link, _, _ = strings.Cut(link, "#")
	link, _, _ = strings.Cut(link, "?")
	return strings.TrimSuffix(path.Base(link), ".metadata")
}

// fileSaid is what a page says of one file, as far as a sieve wants to know.
type fileSaid struct {
	Name     string `json:"filename"`
	Uploaded string `json:"upload-time"`
}

// uploads are the times of a project's files, by their names; zero of those that
// have none. Nil if the page cannot be had in JSON.
func (h *Hub) uploads(ctx context.Context, next exchange.Source, req *exchange.Request) (map[string]time.Time, error) {
	var times map[string]time.Time
	_, err := hub.Consult(ctx, next, h.pageOf(req), func(r io.Reader, _ *url.URL) error {
		src, isJSON, err := sniff(r)
		if err != nil || !isJSON {
			return err
		}
		times = map[string]time.Time{}
		return hub.SiftJSON(io.Discard, src, map[string]func(string, []byte) []byte{"files": func(_ string, text []byte) []byte {
			var f fileSaid
			if json.Unmarshal(text, &f) == nil {
				times[f.Name], _ = time.Parse(time.RFC3339, f.Uploaded) // zero, which is unknown, if it is none
			}
			return nil
		}})
	})
	return times, err
}

// sift shows of a page what req's sieve does.
func (h *Hub) sift(next exchange.Source, req *exchange.Request) hub.Sift {
	return func(ctx context.Context, dst io.Writer, src io.Reader) error {
		var uploads map[string]time.Time
		if req.Sieve.Dates {
			var err error
			if uploads, err = h.uploads(ctx, next, req); err != nil {
				return err
			}
		}
		shown := map[string]bool{} // versions, as far as it was decided
		shows := func(file string) bool {
			_, version := nameAndVersion(file)
			ok := req.Sieve.Shows(version, uploads[file])
			shown[version] = shown[version] || ok
			return ok
		}
		for file := range uploads { // "versions" may stand before "files"
			shows(file)
		}
		src, isJSON, err := sniff(src)
		if err != nil {
			return err
		}
		if !isJSON {
			return hub.CopyHTML(dst, src, func(t *hub.Tag) error {
				if href, ok := t.Attr("href"); ok && isFile(fileName(href)) && !shows(fileName(href)) {
					t.Drop() // the text stays, which is no link
				}
				return nil
			}, "a")
		}
		return hub.SiftJSON(dst, src, map[string]func(string, []byte) []byte{
			"files": func(_ string, text []byte) []byte {
				var f fileSaid
				if json.Unmarshal(text, &f) != nil || !shows(f.Name) {
					return nil
				}
				return text
			},
			"versions": func(_ string, text []byte) []byte {
				version, _ := hub.JSONBytes(text)
				ok, decided := shown[string(version)]
				if decided && !ok || !decided && !req.Sieve.Dates && !req.Sieve.Shows(string(version), time.Time{}) {
					return nil
				}
				return text
			},
		})
	}
}
