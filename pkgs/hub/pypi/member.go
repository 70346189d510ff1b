package pypi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Spell is a project's name, or a pattern of names, as PEP 503 normalises it.
func Spell(name string) string {
	b := make([]byte, 0, len(name))
	for _, ch := range []byte(strings.ToLower(name)) {
		if ch == '_' || ch == '.' {
			ch = '-'
		}
		if ch != '-' || len(b) == 0 || b[len(b)-1] != '-' {
			b = append(b, ch)
		}
	}
	return string(b)
}

// Index is the page of the project, as installers ask for it.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if req.Package == "" {
		return nil
	}
	if req.Origin == "" && classify(req.Key.Path) == page {
		return req
	}
	return h.pageOf(req)
}

// pageOf is the request for the page, in JSON, of the project that req is about.
func (h *Hub) pageOf(req *exchange.Request) *exchange.Request {
	p := simple + req.Package + "/"
	page := h.hub.Request(p, p, freshness.Mutable, ttl)
	page.Package, page.Client = req.Package, req.Client
	represent(page, true)
	return page
}

// suspect is the private name that the file base, which seems to be of project, may
// be of just as well; "" if there is none. Where a name ends and a version begins is
// not certain in a-1.0-2.zip, and unknown where a file is named in no usual way.
func (h *Hub) suspect(base, project string) string {
	if !h.hub.Members.Private() || h.hub.Members.Owned(project) {
		return ""
	}
	for i := range len(base) + 1 {
		if i < len(base) && strings.IndexByte("-.", base[i]) < 0 {
			continue
		}
		if project != "" && (i+1 >= len(base) || base[i+1] < '0' || base[i+1] > '9') {
			continue
		}
		if name := normalise(base[:i]); name != "" && h.hub.Members.Owned(name) {
			return name
		}
	}
	return ""
}

// about is the project that a path below a directory of the index names.
func about(p string) string {
	parts := strings.SplitN(p, "/", 4) // "", the directory, the name
	if len(parts) < 3 {
		return ""
	}
	return normalise(parts[2])
}

// A linked file is one that a page lists (PEP 503, 592, 658, 691, 700, 714, 740).
type linked struct {
	Filename       string            `json:"filename"`
	URL            string            `json:"url"`
	Hashes         map[string]string `json:"hashes"`
	RequiresPython *string           `json:"requires-python,omitempty"`
	Size           *int64            `json:"size,omitempty"`
	UploadTime     string            `json:"upload-time,omitempty"`
	Yanked         json.RawMessage   `json:"yanked,omitempty"`
	CoreMetadata   json.RawMessage   `json:"core-metadata,omitempty"`
	OldMetadata    json.RawMessage   `json:"dist-info-metadata,omitempty"`
	GPGSig         *bool             `json:"gpg-sig,omitempty"`
	Provenance     *string           `json:"provenance,omitempty"`
}

// A merging is the page of a project, of which each part adds what it has.
type merging struct {
	Meta struct {
		Version string `json:"api-version"`
	} `json:"meta"`
	Name     string   `json:"name"`
	Versions []string `json:"versions,omitempty"`
	Files    []linked `json:"files"`

	seen map[string]bool // names of files
}

// Merge lists the files of all parts, in the form of the first. Links are absolute,
// and all else that the specifications know of a file is kept.
func (h *Hub) Merge(dst io.Writer, req *exchange.Request, parts []hub.Part) error {
	m := &merging{Name: req.Package, Files: []linked{}, seen: map[string]bool{}}
	first := false
	for i, p := range parts {
		src, isJSON, err := sniff(p.Body)
		if err == nil && isJSON {
			err = m.readJSON(src, h.linker(req, p.Entry))
		} else if err == nil {
			err = m.readHTML(src, h.linker(req, p.Entry))
		}
		if err != nil {
			return fmt.Errorf("the page of %s: %w", p.Entry.Mirror, err)
		}
		if i == 0 {
			first = isJSON
		}
	}
	if !first {
		return m.writeHTML(dst)
	}
	m.Meta.Version = "1.1" // which demands sizes and versions (PEP 700)
	if len(m.Versions) == 0 || slices.ContainsFunc(m.Files, func(f linked) bool { return f.Size == nil }) {
		m.Meta.Version, m.Versions = "1.0", nil
	}
	return json.NewEncoder(dst).Encode(m)
}

func (h *Hub) linker(req *exchange.Request, e *exchange.Entry) *linker {
	return newLinker(h.links, req.Key.Path, e.Mirror, e.URL)
}

// add takes a file that no part before had. Its URL is resolved as l has it.
func (m *merging) add(f linked, l *linker) {
	u, err := url.Parse(f.URL)
	if err != nil || f.URL == "" {
		return // nobody could follow it
	}
	if l.from != nil {
		u = l.from.ResolveReference(u)
	}
	if u.Fragment != "" {
		for part := range strings.SplitSeq(u.Fragment, "&") {
			if d := sumOf(part); d != "" && f.Hashes[d.Algorithm()] == "" {
				f.Hashes[d.Algorithm()] = d.Hex()
			}
		}
		u.Fragment, u.RawFragment = "", ""
	}
	f.URL = u.String()
	if f.Filename == "" {
		f.Filename = path.Base(u.Path)
	}
	if f.Provenance != nil && l.from != nil {
		if p, err := l.from.Parse(*f.Provenance); err == nil {
			text := p.String()
			f.Provenance = &text
		}
	}
	if !m.seen[f.Filename] {
		m.seen[f.Filename] = true
		m.Files = append(m.Files, f)
	}
}

// sumOf is the digest that is written as sha256=HEX; "" if it is none.
func sumOf(text string) exchange.Digest {
	name, sum, _ := strings.Cut(strings.ToLower(text), "=")
	d, _ := exchange.ParseDigest(name + ":" + sum)
	return d
}

func (m *merging) readJSON(src io.Reader, l *linker) error {
	var bad error
	err := hub.SiftJSON(io.Discard, src, map[string]func(string, []byte) []byte{
		"files": func(_ string, text []byte) []byte {
			f := linked{Hashes: map[string]string{}}
			if err := json.Unmarshal(text, &f); err != nil && bad == nil {
				bad = err
			}
			if f.Hashes == nil {
				f.Hashes = map[string]string{}
			}
			m.add(f, l)
			return nil
		},
		"versions": func(_ string, text []byte) []byte {
			if v, ok := hub.JSONString(text); ok && !slices.Contains(m.Versions, v) {
				m.Versions = append(m.Versions, v)
			}
			return nil
		},
	})
	if err == nil {
		err = bad
	}
	return err
}

func (m *merging) readHTML(src io.Reader, l *linker) error {
	return hub.CopyHTML(io.Discard, src, func(t *hub.Tag) error {
		href, ok := t.Attr("href")
		switch {
		case !ok:
		case t.Name() == "base":
			l.setBase(href)
		default:
			m.add(fromTag(t, href), l)
		}
		return nil
	}, "a", "base")
}

// fromTag is the file of an anchor.
func fromTag(t *hub.Tag, href string) linked {
	f := linked{URL: href, Hashes: map[string]string{}}
	if v, ok := t.Attr("data-requires-python"); ok {
		f.RequiresPython = &v
	}
	if v, ok := t.Attr("data-yanked"); ok {
		f.Yanked = json.RawMessage("true")
		if v != "" {
			f.Yanked = hub.AppendJSONString(nil, v)
		}
	}
	metadata := func(name string) json.RawMessage {
		v, ok := t.Attr(name)
		if !ok {
			return nil
		}
		if d := sumOf(v); d != "" {
			return json.RawMessage(`{"` + d.Algorithm() + `":"` + d.Hex() + `"}`)
		}
		return json.RawMessage(`true`)
	}
	f.CoreMetadata, f.OldMetadata = metadata("data-core-metadata"), metadata("data-dist-info-metadata")
	if v, ok := t.Attr("data-gpg-sig"); ok {
		signed := v == "true"
		f.GPGSig = &signed
	}
	if v, ok := t.Attr("data-provenance"); ok {
		f.Provenance = &v
	}
	return f
}

func (m *merging) writeHTML(dst io.Writer) error {
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.0\"><title>Links for " +
		html.EscapeString(m.Name) + "</title></head><body>\n<h1>Links for " + html.EscapeString(m.Name) + "</h1>\n")
	for i := range m.Files {
		m.Files[i].writeAnchor(&b)
		if b.Len() > 64<<10 {
			if _, err := b.WriteTo(dst); err != nil {
				return err
			}
		}
	}
	b.WriteString("</body></html>\n")
	_, err := b.WriteTo(dst)
	return err
}

func (f *linked) writeAnchor(b *bytes.Buffer) {
	attr := func(name, value string) {
		b.WriteString(" " + name + `="` + html.EscapeString(value) + `"`)
	}
	fragment := ""
	for _, a := range algorithms {
		if sum := f.Hashes[a.name]; sum != "" {
			fragment = "#" + a.name + "=" + sum
			break
		}
	}
	b.WriteString("<a")
	attr("href", f.URL+fragment)
	if f.RequiresPython != nil {
		attr("data-requires-python", *f.RequiresPython)
	}
	if reason, ok := hub.JSONString(f.Yanked); ok {
		attr("data-yanked", reason)
	} else if string(f.Yanked) == "true" {
		attr("data-yanked", "")
	}
	metadata := func(name string, value json.RawMessage) {
		var sums map[string]string
		if json.Unmarshal(value, &sums) == nil && sums["sha256"] != "" {
			attr(name, "sha256="+sums["sha256"])
		} else if string(value) == "true" {
			attr(name, "true")
		}
	}
	metadata("data-core-metadata", f.CoreMetadata)
	metadata("data-dist-info-metadata", f.OldMetadata)
	if f.GPGSig != nil {
		attr("data-gpg-sig", fmt.Sprint(*f.GPGSig))
	}
	if f.Provenance != nil {
		attr("data-provenance", *f.Provenance)
	}
	b.WriteString(">" + html.EscapeString(f.Filename) + "</a><br/>\n")
}
