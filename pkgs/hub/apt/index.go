package apt

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads an index behind the client. name is the member's canonical name,
// which says what it is; the key may be another (by-hash).
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response, name string) {
	dir, base := path.Split(name)
	root := dir // what file names are relative to
	if i := strings.Index(dir, "/dists/"); i >= 0 {
		root = dir[:i+1]
	}
	kind, _, _ := strings.Cut(base, ".")
	switch {
	case kind == "Packages" || kind == "Sources":
		h.opts.Learn(next, req, resp, root, func(plain io.Reader, teach hub.Teach) error {
			return readIndex(plain, func(file string, f exchange.Fact) {
				place(root, file, func(p string) { teach(p, f) })
			})
		})
	case base == "Index" && strings.HasSuffix(dir, ".diff/"):
		h.opts.Learn(next, req, resp, dir, func(plain io.Reader, teach hub.Teach) error {
			return readDiffIndex(plain, func(file string, f exchange.Fact) {
				if p, ok := hub.Canonical(dir + file); ok {
					teach(p, f)
				}
			})
		})
	}
}

// place gives the canonical paths that a file name of an index at root may mean.
// Names of a pooled repository are relative to the directory above dists; those
// of a flat one to what its clients have in their sources before the directory.
func place(root, file string, found func(path string)) {
	file = strings.TrimPrefix(file, "./")
	if p, ok := hub.Canonical(root + file); ok {
		found(p)
	}
	for i := len(root) - 2; i > 0; i-- {
		if root[i] != '/' {
			continue
		}
		if strings.HasPrefix(file, root[i+1:]) {
			if p, ok := hub.Canonical(root[:i+1] + file); ok {
				found(p)
			}
		}
	}
}

// A stanza is what is wanted of one package or source. Its slices are reused.
type stanza struct {
	filename, directory []byte
	size                int64
	sum                 []byte // hex
	prefix              string // algorithm of sum
	parts               []part // files of a source
}

type part struct {
	name, digest string
	size         int64
}

func (s *stanza) reset() {
	s.filename, s.directory, s.sum, s.parts = s.filename[:0], s.directory[:0], s.sum[:0], s.parts[:0]
	s.size, s.prefix = 0, ""
}

// teach tells what the stanza says: Filename, Size and SHA256 of a package, or
// Directory and Checksums-Sha256 of a source.
func (s *stanza) teach(teach func(file string, f exchange.Fact)) {
	if len(s.filename) > 0 {
		f := exchange.Fact{Size: s.size}
		if len(s.sum) > 0 {
			f.Digest = exchange.Digest(s.prefix + string(s.sum))
		}
		teach(string(s.filename), f)
	}
	for _, p := range s.parts {
		name := p.name
		if len(s.directory) > 0 && string(s.directory) != "." {
			name = string(s.directory) + "/" + name
		}
		teach(name, exchange.Fact{Size: p.size, Digest: exchange.Digest(p.digest)})
	}
}

// readIndex reads a Packages or Sources file.
func readIndex(r io.Reader, teach func(file string, f exchange.Fact)) error {
	var s stanza
	sums := false // in the lines of Checksums-Sha256
	err := deb822.Lines(r, func(line []byte) error {
		if len(line) == 0 {
			s.teach(teach)
			s.reset()
			sums = false
			return nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if sums {
				if p, ok := checksum(line, "sha256:"); ok {
					s.parts = append(s.parts, p)
				}
			}
			return nil
		}
		sums = false
		switch line[0] {
		case 'F', 'S', 'D', 'C': // of the fields below; most lines are others
		default:
			if bytes.IndexByte(line, ':') <= 0 {
				return deb822.ErrSyntax
			}
			return nil
		}
		name, value, err := deb822.Field(line)
		if err != nil {
			return err
		}
		switch string(name) {
		case "Filename":
			s.filename = append(s.filename[:0], value...)
		case "Directory":
			s.directory = append(s.directory[:0], value...)
		case "Size":
			s.size, _ = strconv.ParseInt(string(value), 10, 64)
		case "SHA256":
			s.sum, s.prefix = append(s.sum[:0], value...), "sha256:"
		case "SHA512":
			if s.prefix == "" {
				s.sum, s.prefix = append(s.sum[:0], value...), "sha512:"
			}
		case "Checksums-Sha256":
			sums = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.teach(teach)
	return nil
}

// checksum reads a line "HEX SIZE NAME".
func checksum(line []byte, prefix string) (part, bool) {
	sum, rest, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
	if !ok {
		return part{}, false
	}
	size, name, ok := bytes.Cut(bytes.TrimSpace(rest), []byte{' '})
	if !ok {
		return part{}, false
	}
	n, err := strconv.ParseInt(string(size), 10, 64)
	if err != nil || n < 0 {
		return part{}, false
	}
	digest, err := exchange.ParseDigest(prefix + string(sum))
	if err != nil {
		return part{}, false
	}
	return part{name: string(bytes.TrimSpace(name)), digest: string(digest), size: n}, true
}

// readDiffIndex reads the Index of a .diff directory: what it has to download.
func readDiffIndex(r io.Reader, teach func(file string, f exchange.Fact)) error {
	wanted := false
	return deb822.Lines(r, func(line []byte) error {
		if len(line) == 0 {
			return nil
		}
		name, _, err := deb822.Field(line)
		if err != nil {
			return err
		}
		if name != nil {
			wanted = string(name) == "SHA256-Download"
		} else if p, ok := checksum(line, "sha256:"); ok && wanted {
			teach(p.name, exchange.Fact{Size: p.size, Digest: exchange.Digest(p.digest)})
		}
		return nil
	})
}

// A release is what a Release or InRelease says.
type release struct {
	date, validUntil time.Time // zero if it does not say
	byHash           bool      // members are there under by-hash too
	members          map[string]exchange.Fact
}

// readRelease reads a Release, or an InRelease without its armour (RFC 9580
// §7), whose signature is not verified. Members are by their names in it, with
// the strongest digest that it lists.
func readRelease(r io.Reader) (*release, error) {
	rel := &release{members: map[string]exchange.Fact{}}
	strength := len(algorithms) // of members: an index of algorithms
	current := -1               // the list that the lines are of; -1: none
	armour, text := false, true
	fields := 0
	err := deb822.Lines(r, func(line []byte) error {
		switch {
		case bytes.HasPrefix(line, []byte("-----BEGIN PGP SIGNED MESSAGE-----")):
			armour, text = true, false
			return nil
		case bytes.HasPrefix(line, []byte("-----BEGIN PGP SIGNATURE-----")):
			text = false
			return nil
		case len(line) == 0:
			if armour && !text && fields == 0 { // the end of the armour's header
				text = true
			}
			return nil
		case !text:
			return nil
		}
		if armour {
			line = bytes.TrimPrefix(line, []byte("- "))
		}
		name, value, err := deb822.Field(line)
		if err != nil {
			return err
		}
		if name == nil {
			if current >= 0 {
				rel.add(line, current, &strength)
			}
			return nil
		}
		fields++
		current = -1
		switch string(name) {
		case "Date":
			rel.date = date(value)
		case "Valid-Until":
			rel.validUntil = date(value)
		case "Acquire-By-Hash":
			rel.byHash = string(value) == "yes"
		default:
			for i, a := range algorithms {
				if a.name == string(name) {
					current = i
				}
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("release: %w", err)
	case fields == 0:
		return nil, fmt.Errorf("release: %w", deb822.ErrSyntax)
	}
	return rel, nil
}

// maxMembers bounds what one release lists; the largest have some ten thousand.
const maxMembers = 100_000

// add takes a line of a list, unless a stronger one has been read.
func (rel *release) add(line []byte, algorithm int, strength *int) {
	if algorithm > *strength {
		return
	}
	p, ok := checksum(line, algorithms[algorithm].prefix)
	if !ok || strings.HasPrefix(p.name, "/") {
		return
	}
	if algorithm < *strength {
		*strength = algorithm
		clear(rel.members)
	}
	if len(rel.members) < maxMembers {
		rel.members[p.name] = exchange.Fact{Size: p.size, Digest: exchange.Digest(p.digest)}
	}
}

// date reads the dates of a Release: RFC 5322 with a zone by name.
func date(value []byte) time.Time {
	for _, layout := range []string{time.RFC1123, time.RFC1123Z, "Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, string(value)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
