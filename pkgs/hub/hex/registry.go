package hex

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Bounds of what is read.
const (
	maxReleases = 100_000 // of one package
	maxText     = 4 << 10 // bytes of a name, a version or a digest, and of a line of a list
)

// Fields of the registry's messages (registry/signed.proto and package.proto).
const (
	signedPayload   = 1
	packageReleases = 1
	packageName     = 2
	releaseVersion  = 1
	releaseOuter    = 5 // SHA-256 of the tarball
)

// readPackage reads the resource of a package, and tells the digests of its
// tarballs at the end, if the package is the one of that name. The signature is
// not checked.
func readPackage(r io.Reader, name string, teach func(version string, d exchange.Digest)) error {
	plain, err := hub.Unpack(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	type release struct {
		version string
		digest  exchange.Digest
	}
	var releases []release
	found := ""
	signed := &message{r: bufio.NewReader(plain), left: -1}
	err = signed.each(func(number uint64, payload *message) error {
		if number != signedPayload {
			return nil
		}
		return payload.each(func(number uint64, value *message) (err error) {
			switch number {
			case packageName:
				found, err = value.text()
			case packageReleases:
				var one release
				one.version, one.digest, err = readRelease(value)
				if len(releases) == maxReleases {
					return fmt.Errorf("more than %d releases", maxReleases)
				}
				if one.digest != "" {
					releases = append(releases, one)
				}
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	if found != name {
		return fmt.Errorf("resource of the package %.100q", found)
	}
	for _, one := range releases {
		teach(one.version, one.digest)
	}
	return nil
}

func readRelease(m *message) (version string, d exchange.Digest, err error) {
	err = m.each(func(number uint64, value *message) (err error) {
		switch number {
		case releaseVersion:
			version, err = value.text()
		case releaseOuter:
			var sum string
			if sum, err = value.text(); len(sum) == 32 {
				d = exchange.NewDigest("sha256", []byte(sum))
			}
		}
		return err
	})
	return version, d, err
}

// A message is one of Protocol Buffers in its wire format
// (https://protobuf.dev/programming-guides/encoding/), or another value of some
// length in such a one, that is being read.
type message struct {
	r    *bufio.Reader
	left int64 // bytes; negative: up to the end of r
}

var errMessage = errors.New("bad message")

// each calls f with every field that has a length. What f leaves of it is skipped,
// as fields of other types are.
func (m *message) each(f func(number uint64, value *message) error) error {
	for m.left != 0 {
		if m.left < 0 {
			if _, err := m.r.Peek(1); err == io.EOF {
				return nil
			}
		}
		tag, err := m.varint()
		if err != nil {
			return err
		}
		var n uint64
		switch tag & 7 {
		case 0:
			_, err = m.varint()
		case 1:
			n = 8
		case 2:
			n, err = m.varint()
		case 5:
			n = 4
		default:
			return errMessage
		}
		if err != nil {
			return err
		}
		if n > hub.MaxUnpacked || m.left >= 0 && int64(n) > m.left {
			return errMessage
		}
		value := &message{m.r, int64(n)}
		if tag&7 == 2 {
			if err := f(tag>>3, value); err != nil {
				return err
			}
		}
		if _, err := m.r.Discard(int(value.left)); err != nil {
			return fmt.Errorf("%w: %w", errMessage, err)
		}
		if m.left >= 0 {
			m.left -= int64(n)
		}
	}
	return nil
}

// varint reads a number in the base 128.
func (m *message) varint() (v uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		b, err := m.r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errMessage, err)
		}
		if m.left == 0 {
			return 0, errMessage
		}
		if m.left > 0 {
			m.left--
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errMessage
}

// text reads the whole value.
func (m *message) text() (string, error) {
	if m.left > maxText {
		return "", errMessage
	}
	b := make([]byte, m.left)
	m.left = 0
	if _, err := io.ReadFull(m.r, b); err != nil {
		return "", fmt.Errorf("%w: %w", errMessage, err)
	}
	return string(b), nil
}

// readTools reads the list of tools at p, such as /installs/hex-1.x.csv, with the
// columns version, SHA-512 and Elixir, or /installs/hex.csv, whose fourth one is
// that of Erlang's release, which then is in the names of files.
func readTools(p string, r io.Reader, teach func(path string, f exchange.Fact)) error {
	name, old := strings.CutSuffix(strings.TrimSuffix(path.Base(p), ".csv"), "-1.x")
	suffix := ""
	switch {
	case name == "hex":
		suffix = ".ez"
	case name == "rebar" && !old:
		name = "rebar3"
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxText), maxText)
	for lines.Scan() {
		row := strings.Split(strings.TrimSpace(lines.Text()), ",")
		if len(row) < 3 {
			continue
		}
		file := row[2] + "/" + name + "-" + row[0]
		if !old && len(row) > 3 {
			file += "-otp-" + row[3]
		}
		d, err := exchange.ParseDigest("sha512:" + strings.ToLower(row[1]))
		if to, ok := hub.Beside(path.Dir(p)+"/", file+suffix); ok && err == nil {
			teach(to, exchange.Fact{Digest: d})
		}
	}
	return lines.Err()
}
