package pypi

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// facts reads what an index says of its files and their metadata.
func (h *Hub) facts(src io.Reader, l *linker, teach func(path string, f exchange.Fact)) error {
	src, json, err := sniff(src)
	if err != nil {
		return err
	}
	said := func(link string, size int64, digest, metadata exchange.Digest) {
		key, ok := h.key(l, link)
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
	if json {
		return jsonFacts(src, said)
	}
	return hub.CopyHTML(io.Discard, src, func(t *hub.Tag) error {
		href, ok := t.Attr("href")
		switch {
		case !ok:
		case t.Name() == "base":
			l.setBase(href)
		default:
			link, fragment, _ := strings.Cut(href, "#")
			metadata, ok := t.Attr("data-core-metadata") // PEP 714: the other name is the older
			if !ok {
				metadata, _ = t.Attr("data-dist-info-metadata")
			}
			said(link, 0, assigned(fragment), assigned(metadata))
		}
		return nil
	}, "a", "base")
}

// assigned is the digest in a fragment or attribute, sha256=HEX; "" if there is none.
func assigned(s string) exchange.Digest {
	for part := range strings.SplitSeq(s, "&") {
		algorithm, sum, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		if d := digest(algorithm, sum); d != "" {
			return d
		}
	}
	return ""
}

func digest(algorithm, sum string) exchange.Digest {
	d, err := exchange.ParseDigest(strings.ToLower(algorithm + ":" + sum))
	if err != nil {
		return ""
	}
	return d
}

// jsonFacts reads a page of PEP 691, or a document of the JSON API.
func jsonFacts(src io.Reader, said func(link string, size int64, digest, metadata exchange.Digest)) error {
	var link string
	var size int64
	var sums [5]exchange.Digest // of the file, the best first
	var metadata [2]exchange.Digest
	into := func(d *exchange.Digest, algorithm string) func([]byte) ([]byte, error) {
		return func(value []byte) ([]byte, error) {
			s, _ := hub.JSONString(value)
			*d = digest(algorithm, s)
			return value, nil
		}
	}
	rules := hub.JSONRules{}
	for path, hashes := range map[string]string{"files/*/": "hashes/", "urls/*/": "digests/", "releases/*/*/": "digests/"} {
		rules[path+"url"] = func(value []byte) ([]byte, error) {
			link, _ = hub.JSONString(value)
			return value, nil
		}
		rules[path+"size"] = func(value []byte) ([]byte, error) {
			size, _ = strconv.ParseInt(string(value), 10, 64)
			return value, nil
		}
		for i, algorithm := range [...]string{"sha512", "sha384", "sha256", "sha1", "md5"} {
			rules[path+hashes+algorithm] = into(&sums[i], algorithm)
		}
		rules[path+"core-metadata/sha256"] = into(&metadata[0], "sha256")
		rules[path+"dist-info-metadata/sha256"] = into(&metadata[1], "sha256")
		rules[path] = func([]byte) ([]byte, error) {
			if link != "" {
				said(link, size, first(sums[:]), first(metadata[:]))
			}
			link, size = "", 0
			clear(sums[:])
			clear(metadata[:])
			return nil, nil
		}
	}
	return hub.CopyJSON(io.Discard, src, rules)
}

func first(all []exchange.Digest) exchange.Digest {
	for _, d := range all {
		if d != "" {
			return d
		}
	}
	return ""
}

// key is the path that a client gets a file under, if it is one of this hub.
func (h *Hub) key(l *linker, link string) (path string, ok bool) {
	link, _, _ = strings.Cut(link, "#")
	path, ok = l.locate(link)
	if !ok {
		return "", false
	}
	if plain(path[1:]) && (strings.HasPrefix(path, hub.FilePrefix) || classify(path) == file) {
		return path, true
	}
	u, err := url.Parse(path)
	if err != nil {
		return "", false
	}
	if req, err := h.Parse(&http.Request{URL: u}); err == nil && req.Key.Variant == "" {
		return req.Key.Path, true
	}
	return "", false
}
