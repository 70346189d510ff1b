package flatpak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var errVariant = errors.New("bad variant")

// Names of metadata (ostree-repo.c, ostree-repo-static-delta-core.c).
const (
	deltasKey   = "ostree.static-deltas"
	modifiedKey = "ostree.summary.last-modified"
)

// readRoot reads a summary: (a(s(taya{sv}))a{sv}). Of the index of summaries only
// that it is one is known.
func readRoot(p string, content io.Reader) (*hub.Root, error) {
	b, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	refs, meta, err := two(b, 8)
	if err != nil {
		return nil, err
	}
	if err := elements(refs, 8, func([]byte) error { return nil }); err != nil {
		return nil, err
	}
	root := &hub.Root{Members: map[string]exchange.Fact{}}
	err = dict(meta, func(key, kind string, value []byte) error {
		if p != summaryPath {
			return nil
		}
		if key == modifiedKey && kind == "t" && len(value) == 8 {
			root.Order = int64(binary.BigEndian.Uint64(value)) // seconds; a mad one is negative, and older
		}
		return readDeltas(key, kind, value, func(p string, f exchange.Fact) { root.Members[p] = f })
	})
	return root, err
}

// readList teaches what the delta index or the superblock at p says.
func readList(p string, r io.Reader, teach func(p string, f exchange.Fact)) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if path.Base(p) == superblock {
		return readSuperblock(b, func(part int, f exchange.Fact) { teach(path.Dir(p)+"/"+strconv.Itoa(part), f) })
	}
	return dict(b, func(key, kind string, value []byte) error { return readDeltas(key, kind, value, teach) })
}

// readDeltas teaches what superblocks must be, if the key is that of deltas: by
// names of commits, FROM-TO or TO, their SHA-256.
func readDeltas(key, kind string, value []byte, teach func(p string, f exchange.Fact)) error {
	if key != deltasKey || kind != "a{sv}" {
		return nil
	}
	return dict(value, func(name, kind string, sum []byte) error {
		if p := deltaPath(name); p != "" && kind == "ay" && len(sum) == 32 {
			teach(p+superblock, exchange.Fact{Digest: exchange.NewDigest("sha256", sum)})
		}
		return nil
	})
}

// readSuperblock teaches what the parts of a delta must be:
// (a{sv}tayay(…)aya(uayttay)a(yaytt)), of which the parts are the last but one.
func readSuperblock(b []byte, teach func(part int, f exchange.Fact)) error {
	size := offsetSize(len(b))
	if len(b) < 6*size {
		return errVariant
	}
	from, err1 := offset(b, len(b)-5*size, size)
	to, err2 := offset(b, len(b)-6*size, size)
	if from = align(from, 8); err1 != nil || err2 != nil || from > to {
		return errVariant
	}
	part := 0
	return elements(b[from:to], 8, func(e []byte) error {
		size := offsetSize(len(e))
		end, err := offset(e, len(e)-size, size)
		if err != nil || end != 4+32 {
			return errVariant
		}
		teach(part, exchange.Fact{Digest: exchange.NewDigest("sha256", e[4:end])})
		part++
		return nil
	})
}

// deltaPath is where a delta lies that a summary has under a name; "" if it is none.
func deltaPath(name string) string {
	from, to, both := strings.Cut(name, "-")
	if !both {
		from, to = "", from
	}
	target, from64 := short(to), short(from)
	switch {
	case target == "", both && from64 == "":
		return ""
	case both:
		return "/deltas/" + from64[:2] + "/" + from64[2:] + "-" + target + "/"
	}
	return "/deltas/" + target[:2] + "/" + target[2:] + "/"
}

// indexOf is where the index lies that lists the superblock at p; "" if p is none.
func indexOf(p string) string {
	dir, rest := path.Split(path.Dir(p))
	target := path.Base(dir) + rest
	if i := len(target) - 44; i >= 0 && target[i] == '-' {
		target = target[i+1:]
	}
	if len(target) != 43 {
		return ""
	}
	return "/delta-indexes/" + target[:2] + "/" + target[2:] + ".index"
}

// short is a name in hexadecimal as paths of deltas spell it; "" if it is none.
func short(name string) string {
	sum, err := hex.DecodeString(name)
	if err != nil || len(sum) != 32 {
		return ""
	}
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(sum), "/", "_")
}

// What follows reads GVariant, the serialisation of GLib (GVariant Specification
// 1.0, section 2.3): a container with elements of variable size has, at its end, the
// ends of these, in as many bytes as its own size needs.

// dict calls f with each entry of an a{sv}.
func dict(b []byte, f func(key, kind string, value []byte) error) error {
	return elements(b, 8, func(e []byte) error {
		name, value, err := two(e, 8)
		if err != nil || len(name) == 0 || name[len(name)-1] != 0 {
			return errVariant
		}
		i := bytes.LastIndexByte(value, 0) // the type is behind the value
		if i < 0 {
			return errVariant
		}
		return f(string(name[:len(name)-1]), string(value[i+1:]), value[:i])
	})
}

// elements calls f with each element of an array, aligned to n bytes.
func elements(b []byte, n int, f func(e []byte) error) error {
	if len(b) == 0 {
		return nil
	}
	size := offsetSize(len(b))
	table, err := offset(b, len(b)-size, size)
	if err != nil || (len(b)-table)%size != 0 {
		return errVariant
	}
	from := 0
	for at := table; at < len(b); at += size {
		to, err := offset(b, at, size)
		if from = align(from, n); err != nil || from > to || to > table {
			return errVariant
		}
		if err := f(b[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// two are the members of a pair, the second aligned to n bytes.
func two(b []byte, n int) (first, second []byte, err error) {
	size := offsetSize(len(b))
	end, err := offset(b, len(b)-size, size)
	if err != nil || align(end, n) > len(b)-size {
		return nil, nil, errVariant
	}
	return b[:end], b[align(end, n) : len(b)-size], nil
}

// offset is the one that stands in b at a place.
func offset(b []byte, at, size int) (int, error) {
	if at < 0 || at+size > len(b) {
		return 0, errVariant
	}
	var word [8]byte
	copy(word[:], b[at:at+size])
	if n := binary.LittleEndian.Uint64(word[:]); n <= uint64(len(b)) {
		return int(n), nil
	}
	return 0, errVariant
}

// offsetSize is how many bytes an offset has in a container of n bytes.
func offsetSize(n int) int {
	switch {
	case n <= 0xff:
		return 1
	case n <= 0xffff:
		return 2
	case n <= 0xffffffff:
		return 4
	}
	return 8
}

func align(i, n int) int { return (i + n - 1) / n * n }
