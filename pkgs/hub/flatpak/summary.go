package flatpak

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"path"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/gvariant"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/openpgp"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Names of metadata (ostree-repo.c, ostree-repo-static-delta-core.c).
const (
	deltasKey     = "ostree.static-deltas"
	modifiedKey   = "ostree.summary.last-modified"
	signaturesKey = "ostree.gpgsigs"
)

// readRoot reads a summary: (a(s(taya{sv}))a{sv}). Of the index of summaries only
// that it is one is known.
func readRoot(p string, content io.Reader) (*hub.Root, error) {
	b, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	refs, meta, err := gvariant.Pair(b, 8)
	if err != nil {
		return nil, err
	}
	if err := gvariant.Array(refs, 8, func([]byte) error { return nil }); err != nil {
		return nil, err
	}
	root := &hub.Root{Members: map[string]exchange.Fact{}}
	err = gvariant.Dict(meta, func(key, kind string, value []byte) error {
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
	return gvariant.Dict(b, func(key, kind string, value []byte) error { return readDeltas(key, kind, value, teach) })
}

// readDeltas teaches what superblocks must be, if the key is that of deltas: by
// names of commits, FROM-TO or TO, their SHA-256.
func readDeltas(key, kind string, value []byte, teach func(p string, f exchange.Fact)) error {
	if key != deltasKey || kind != "a{sv}" {
		return nil
	}
	return gvariant.Dict(value, func(name, kind string, sum []byte) error {
		if p := deltaPath(name); p != "" && kind == "ay" && len(sum) == 32 {
			teach(p+superblock, exchange.Fact{Digest: exchange.NewDigest("sha256", sum)})
		}
		return nil
	})
}

// readSuperblock teaches what the parts of a delta must be:
// (a{sv}tayay(…)aya(uayttay)a(yaytt)), of which the parts are the last but one.
func readSuperblock(b []byte, teach func(part int, f exchange.Fact)) error {
	from, err1 := gvariant.End(b, 4)
	to, err2 := gvariant.End(b, 5)
	if from = gvariant.Align(from, 8); err1 != nil || err2 != nil || from > to {
		return gvariant.ErrForm
	}
	part := 0
	return gvariant.Array(b[from:to], 8, func(e []byte) error {
		end, err := gvariant.End(e, 0)
		if err != nil || end != 4+32 {
			return gvariant.ErrForm
		}
		teach(part, exchange.Fact{Digest: exchange.NewDigest("sha256", e[4:end])})
		part++
		return nil
	})
}

// agrees says whether a signature, a{sv}, may be of a summary: none that was made
// before the summary is. A mirror that is being updated has the old one for a while.
// Of signatures that are not OpenPGP's there is no telling.
func agrees(root *hub.Root, _ string, content []byte) bool {
	old := false
	err := gvariant.Dict(content, func(key, kind string, value []byte) error {
		if key != signaturesKey || kind != "aay" {
			return nil
		}
		return gvariant.Array(value, 1, func(signature []byte) error {
			if at, ok := openpgp.Made(signature); ok && at < root.Order {
				old = true
			}
			return nil
		})
	})
	return err == nil && !old
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
