package pypi

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A teacher hears what an index says of a path.
type teacher = func(path string, f exchange.Fact)

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
func (h *Hub) said(path []byte, size int64, digest, metadata exchange.Digest, teach teacher) {
	if digest == "" && metadata == "" && size <= 0 {
		return
	}
	key, ok := h.key(path)
	if !ok {
		return
	}
	if digest != "" || size > 0 {
		teach(key, exchange.Fact{Size: size, Digest: digest})
	}
	if metadata != "" && strings.IndexByte(key, '?') < 0 {
		teach(key+".metadata", exchange.Fact{Digest: metadata})
	}
}

// assigned is the digest in a fragment or attribute, sha256=HEX; "" if there is none.
func assigned(s []byte) exchange.Digest {
	for len(s) > 0 {
		var part []byte
		part, s, _ = bytes.Cut(s, []byte("&"))
		name, sum, _ := bytes.Cut(part, []byte("="))
		for _, a := range algorithms {
			if bytes.EqualFold(name, []byte(a.name)) {
				if d := a.digest(sum); d != "" {
					return d
				}
			}
		}
	}
	return ""
}

// An algorithm of digests; size is that of its hexadecimal sums.
type algorithm struct {
	name string
	size int
}

// algorithms are those that indexes use, the best first.
var algorithms = [...]algorithm{{"sha512", 128}, {"sha384", 96}, {"sha256", 64}, {"sha1", 40}, {"md5", 32}}

// digest is the one with a sum in hexadecimal; "" if it is no sum.
func (a *algorithm) digest(sum []byte) exchange.Digest {
	if len(sum) != a.size {
		return ""
	}
	all := isHex | isLower
	for _, ch := range sum {
		all &= digits[ch]
	}
	if all&isHex == 0 {
		return ""
	}
	if all&isLower == 0 {
		sum = bytes.ToLower(sum)
	}
	return exchange.Digest(a.name + ":" + string(sum))
}

const (
	isHex uint8 = 1 << iota
	isLower
)

// digits are those of hexadecimal sums.
var digits = func() (t [256]uint8) {
	for _, ch := range "0123456789abcdef" {
		t[ch] = isHex | isLower
	}
	for _, ch := range "ABCDEF" {
		t[ch] = isHex
	}
	return t
}()

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
func (f *jsonFile) digest() exchange.Digest {
	for i := range algorithms {
		if d := algorithms[i].digest(f.sums[i]); d != "" {
			return d
		}
	}
	return ""
}

// metadataDigest is that of the file's metadata.
func (f *jsonFile) metadataDigest() exchange.Digest {
	sha256 := algorithm{"sha256", 64}
	if d := sha256.digest(f.metadata[0]); d != "" {
		return d
	}
	return sha256.digest(f.metadata[1])
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
	into := func(kept *[]byte) func([]byte) ([]byte, error) {
		return func(value []byte) ([]byte, error) {
			s, _ := hub.JSONBytes(value)
			*kept = append((*kept)[:0], s...)
			return value, nil
		}
	}
	for _, at := range [...]struct{ file, hashes string }{{"files/*/", "hashes/"}, {"urls/*/", "digests/"}, {"releases/*/*/", "digests/"}} {
		rules[at.file+"size"] = func(value []byte) ([]byte, error) {
			f.size, _ = strconv.ParseInt(string(value), 10, 64)
			return value, nil
		}
		for i, a := range algorithms {
			rules[at.file+at.hashes+a.name] = into(&f.sums[i])
		}
		rules[at.file+"core-metadata/sha256"] = into(&f.metadata[0])
		rules[at.file+"dist-info-metadata/sha256"] = into(&f.metadata[1])
		rules[at.file] = func([]byte) ([]byte, error) {
			if len(f.path) > 0 {
				h.said(f.path, f.size, f.digest(), f.metadataDigest(), teach)
			}
			f.reset()
			return nil, nil
		}
	}
}

// key is path as a client gets a file under it, if it is that of one.
func (h *Hub) key(path []byte) (key string, ok bool) {
	key = string(path)
	if plain(path[1:]) && (strings.HasPrefix(key, hub.FilePrefix) || classify(key) == file) {
		return key, true
	}
	u, err := url.Parse(key)
	if err != nil {
		return "", false
	}
	if req, err := h.Parse(&http.Request{URL: u}); err == nil && req.Key.Variant == "" {
		return req.Key.Path, true
	}
	return "", false
}
