package pypi

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A teacher hears what an index says of the file at path, or of what lies at
// path and a suffix. It keeps nothing that it gets.
type teacher = func(path []byte, suffix string, size int64, d digest)

// A digest is one as an index spells it; its sum is as long as it should be. The
// zero one is none.
type digest struct {
	algorithm string
	sum       []byte
}

// copy copies an index with its links mapped, and teaches what it says of its
// files and their metadata to whom it may concern. Its first byte says what it
// is: mirrors have JSON under any type, and the type is the client's to judge.
func (h *Hub) copy(dst io.Writer, src io.Reader, l *linker, teach teacher) error {
	src, json, err := sniff(src)
	if err != nil {
		return err
	}
	if json {
		return h.copyJSON(dst, src, l, teach)
	}
	return hub.CopyHTML(dst, src, func(t *hub.Tag) error {
		if t.Name() == "base" {
			if href, ok := t.Attr("href"); ok {
				l.setBase(href)
				t.Drop()
			}
			return nil
		}
		var fragment []byte
		ours := false
		t.MapBytes("href", func(value []byte) (text []byte) {
			_, fragment, _ = bytes.Cut(value, []byte("#"))
			text, ours = l.link(value)
			return text
		})
		if teach != nil && ours {
			metadata, ok := t.AttrBytes("data-core-metadata") // PEP 714: the other name is the older
			if !ok {
				metadata, _ = t.AttrBytes("data-dist-info-metadata")
			}
			h.said(l.path, 0, assigned(fragment), assigned(metadata), teach)
		}
		t.MapBytes("data-provenance", l.identity)
		return nil
	}, "a", "base")
}

// said teaches what an index says of one file.
func (h *Hub) said(path []byte, size int64, d, metadata digest, teach teacher) {
	if d.algorithm == "" && metadata.algorithm == "" && size <= 0 {
		return
	}
	key, ok := h.key(path)
	if !ok {
		return
	}
	if d.algorithm != "" || size > 0 {
		teach(key, "", size, d)
	}
	if metadata.algorithm != "" && bytes.IndexByte(key, '?') < 0 {
		teach(key, ".metadata", 0, metadata)
	}
}

// assigned is the digest in a fragment or attribute, sha256=HEX.
func assigned(s []byte) digest {
	for len(s) > 0 {
		part := s
		if i := bytes.IndexByte(s, '&'); i >= 0 {
			part, s = s[:i], s[i+1:]
		} else {
			s = nil
		}
		i := bytes.IndexByte(part, '=')
		if i < 0 {
			continue
		}
		for _, a := range algorithms {
			if len(part)-i-1 == a.size && (string(part[:i]) == a.name || strings.EqualFold(string(part[:i]), a.name)) {
				return digest{a.name, part[i+1:]}
			}
		}
	}
	return digest{}
}

// An algorithm of digests; size is that of its hexadecimal sums.
type algorithm struct {
	name string
	size int
}

// algorithms are those that indexes use, the best first.
var algorithms = [...]algorithm{{"sha512", 128}, {"sha384", 96}, {"sha256", 64}, {"sha1", 40}, {"md5", 32}}

// A jsonFile is what a page of PEP 691, or a document of the JSON API, says of
// one file.
type jsonFile struct {
	path     []byte // below the hub; empty: it is elsewhere
	size     int64
	sums     [len(algorithms)][]byte
	metadata [2][]byte // SHA-256, by the newer name of the field and by the older
}

func (f *jsonFile) reset() {
	f.path, f.size = f.path[:0], 0
	for i := range f.sums {
		f.sums[i] = f.sums[i][:0]
	}
	for i := range f.metadata {
		f.metadata[i] = f.metadata[i][:0]
	}
}

// digest is the best one of the file.
func (f *jsonFile) digest() digest {
	for i, a := range algorithms {
		if len(f.sums[i]) == a.size {
			return digest{a.name, f.sums[i]}
		}
	}
	return digest{}
}

// metadataDigest is that of the file's metadata.
func (f *jsonFile) metadataDigest() digest {
	for _, sum := range f.metadata {
		if len(sum) == 64 {
			return digest{"sha256", sum}
		}
	}
	return digest{}
}

func (h *Hub) copyJSON(dst io.Writer, src io.Reader, l *linker, teach teacher) error {
	var f jsonFile
	var text []byte
	changed := func(old, link, value []byte) ([]byte, error) {
		if bytes.Equal(link, old) {
			return value, nil
		}
		text = hub.AppendJSONString(text[:0], link)
		return text, nil
	}
	lead := func(value []byte) ([]byte, error) {
		f.path = f.path[:0]
		s, ok := hub.JSONBytes(value)
		if !ok {
			return value, nil
		}
		link, ours := l.link(s)
		if ours {
			f.path = append(f.path, l.path...)
		}
		return changed(s, link, value)
	}
	rules := hub.JSONRules{
		"files/*/url": lead, "urls/*/url": lead, "releases/*/*/url": lead,
		"files/*/provenance": func(value []byte) ([]byte, error) {
			s, ok := hub.JSONBytes(value)
			if !ok {
				return value, nil
			}
			return changed(s, l.identity(s), value)
		},
	}
	if teach != nil {
		h.teachJSON(rules, &f, teach)
	}
	return hub.CopyJSON(dst, src, rules)
}

// teachJSON adds the rules that teach what is said of each file; its path is
// another rule's.
func (h *Hub) teachJSON(rules hub.JSONRules, f *jsonFile, teach teacher) {
	for _, at := range [...]struct{ file, hashes string }{{"files/*/", "hashes/"}, {"urls/*/", "digests/"}, {"releases/*/*/", "digests/"}} {
		rules[at.file+"size"] = func(value []byte) ([]byte, error) {
			f.size, _ = strconv.ParseInt(string(value), 10, 64)
			return value, nil
		}
		for i, a := range algorithms {
			rules[at.file+at.hashes+a.name] = hub.JSONBytesInto(&f.sums[i])
		}
		rules[at.file+"core-metadata/sha256"] = hub.JSONBytesInto(&f.metadata[0])
		rules[at.file+"dist-info-metadata/sha256"] = hub.JSONBytesInto(&f.metadata[1])
		rules[at.file] = hub.JSONEnd(func() error {
			if len(f.path) > 0 {
				h.said(f.path, f.size, f.digest(), f.metadataDigest(), teach)
			}
			f.reset()
			return nil
		})
	}
}

// key is path as a client gets a file under it, if it is that of one.
func (h *Hub) key(path []byte) (key []byte, ok bool) {
	if plain(path[1:]) && (bytes.HasPrefix(path, []byte(hub.FilePrefix)) || isFile(path) && !bytes.HasPrefix(path, []byte(simple))) {
		return path, true // as nearly all are
	}
	req, ok := hub.Follow(h, string(path))
	if !ok || req.Key.Variant != "" {
		return nil, false
	}
	return []byte(req.Key.Path), true
}
