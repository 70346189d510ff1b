// Package apt is the hub of Debian-style repositories, pooled or flat.
//
// Its words are those of the repository format: a *release* is a directory with
// an InRelease (or Release and Release.gpg), which lists *members*, the index
// files below it, by size and digest; those list packages. A release is the root
// of a generation ([hub.Generations]): what a client gets under a member's name
// is what the release it was given says, and the same object as under by-hash.
//
// Nothing is rewritten, since all of it is signed; no signature is verified.
package apt

import (
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// How long mutable paths stay fresh.
const (
	indexTTL = 5 * time.Minute
	otherTTL = time.Hour
)

// Options of a [Hub].
type Options = hub.GenerationOptions

// A Hub is one tree of repositories. It is safe for concurrent use.
type Hub struct {
	opts        hub.Options
	generations *hub.Generations
	images      *hub.Lists
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options, opts Options) (*Hub, error) {
	if o.Name == "" {
		return nil, errors.New("apt: no name")
	}
	h := &Hub{opts: o}
	h.images = hub.NewLists(&h.opts, hub.ReadSums)
	h.generations = hub.NewGenerations(&h.opts, hub.Format{
		Companions: companions,
		Read:       readRoot,
		Agrees:     agrees,
		Request:    func(p string) *exchange.Request { return h.request(p, p) },
		Member:     member,
	}, opts)
	return h, nil
}

// Parse knows every path; no field of the client's and no query counts.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	canonical, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	return h.request(canonical, target), nil
}

// request is the exchange of a canonical path.
func (h *Hub) request(canonical, target string) *exchange.Request {
	class, ttl := classify(canonical)
	req := h.opts.Request(canonical, target, class, ttl)
	if digest, ok := byHash(canonical); ok {
		req.Digest = digest
		req.Policy.Class = freshness.Immutable
	}
	if isPackage(canonical) {
		req.Package, req.Version = nameVersion(hub.Name(path.Base(canonical)))
	}
	return req
}

// classify is the table of PROTOCOLS section 3.
func classify(p string) (freshness.Class, time.Duration) {
	dir, base := path.Split(p)
	switch {
	case base == "":
		return freshness.Mutable, otherTTL // a listing
	case snapshot(p):
		return freshness.Immutable, 0
	case isRelease(base) || strings.HasPrefix(base, "Release"):
		return freshness.Mutable, indexTTL
	case strings.HasSuffix(dir, ".diff/"):
		if base == "Index" || strings.HasPrefix(base, "Index.") {
			return freshness.Mutable, indexTTL
		}
		return freshness.Immutable, 0
	case installer(p) != "":
		if dated(dir) {
			return freshness.Immutable, 0
		}
		return freshness.Mutable, otherTTL
	case strings.Contains(p, "/dists/"):
		if _, ok := byHash(p); ok {
			return freshness.Immutable, 0
		}
		return freshness.Mutable, indexTTL
	case strings.Contains(dir, "/pool/"), isPackage(base):
		return freshness.Immutable, 0
	case isIndex(base):
		return freshness.Mutable, indexTTL
	case strings.Contains(dir, "/project/trace/"), strings.Contains(dir, "/indices/"),
		strings.Contains(dir, "/doc/"), strings.HasPrefix(base, "ls-lR"):
		return freshness.Mutable, otherTTL
	}
	return freshness.Mutable, 0
}

// installer is where the images of an installer lie that p is one of, up to the
// slash: …/installer-ARCH/VERSION/images/; "" if p is none.
func installer(p string) string {
	i := strings.Index(p, "/installer-")
	if i < 0 {
		return ""
	}
	j := strings.Index(p[i:], "/images/")
	if j < 0 {
		return ""
	}
	return p[:i+j+len("/images/")]
}

// isRelease says that a file of this name is a root, or comes with one.
func isRelease(base string) bool {
	return base == "InRelease" || base == "Release" || base == "Release.gpg"
}

// isIndex says that a file of this name is an index of packages, packed or not.
func isIndex(base string) bool {
	name, _, _ := strings.Cut(base, ".")
	return name == "Packages" || name == "Sources" || name == "Contents" ||
		strings.HasPrefix(name, "Translation-") || strings.HasPrefix(name, "Contents-")
}

// isPackage says that a file of this name is a package, or a part of a source.
func isPackage(name string) bool {
	name = strings.TrimSuffix(name, ".asc")
	switch path.Ext(name) {
	case ".deb", ".udeb", ".ddeb", ".dsc":
		return true
	case ".gz", ".xz", ".bz2", ".lzma", ".zst":
		packed := strings.TrimSuffix(name, path.Ext(name))
		return strings.HasSuffix(packed, ".tar") || strings.HasSuffix(packed, ".diff") && strings.Contains(packed, "_")
	}
	return false
}

// nameVersion reads NAME_VERSION_ARCH.deb. The epoch is not in the name.
func nameVersion(base string) (name, version string) {
	name, rest, ok := strings.Cut(base, "_")
	if !ok {
		return "", ""
	}
	version, _, ok = strings.Cut(rest, "_")
	if !ok { // of a source, where what follows the version is a suffix
		for _, suffix := range []string{".dsc", ".debian.tar", ".orig", ".diff", ".tar"} {
			if v, _, found := strings.Cut(rest, suffix); found {
				return name, v
			}
		}
		return name, ""
	}
	return name, version
}

// snapshot says that a path is below a moment: YYYYMMDDTHHMMSSZ.
func snapshot(p string) bool {
	for segment := range strings.SplitSeq(path.Dir(p), "/") {
		if len(segment) == 16 && segment[8] == 'T' && segment[15] == 'Z' &&
			digits(segment[:8]) && digits(segment[9:15]) {
			return true
		}
	}
	return false
}

// dated says that a directory of a path begins with a day, as those of a
// published installer do.
func dated(dir string) bool {
	for segment := range strings.SplitSeq(dir, "/") {
		if len(segment) >= 8 && digits(segment[:8]) {
			return true
		}
	}
	return false
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// byHash is the digest that a path names: …/by-hash/ALGORITHM/HEX.
func byHash(p string) (exchange.Digest, bool) {
	dir, sum := path.Split(p)
	dir, algorithm := path.Split(strings.TrimSuffix(dir, "/"))
	if !strings.HasSuffix(dir, "/by-hash/") {
		return "", false
	}
	for _, a := range algorithms {
		if a.name == algorithm {
			digest, err := exchange.ParseDigest(a.prefix + strings.ToLower(sum))
			return digest, err == nil
		}
	}
	return "", false
}

// algorithms are those of a Release, by its fields' names, strongest first.
var algorithms = []struct{ name, prefix string }{
	{"SHA512", "sha512:"}, {"SHA256", "sha256:"}, {"SHA1", "sha1:"}, {"MD5Sum", "md5:"},
}
