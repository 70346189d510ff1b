package hex

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Bounds of what is read.
const (
	maxResource = 16 << 20 // bytes of a package's, unpacked
	maxReleases = 100_000  // of one package
	maxText     = 4 << 10  // bytes of a name, a version or a digest, and of a line of a list
)

// Fields of the registry's messages (registry/signed.proto and package.proto).
const (
	signedPayload   = 1
	packageReleases = 1
	packageName     = 2
	releaseVersion  = 1
	releaseOuter    = 5 // SHA-256 of the tarball
)

// A released version is what a resource says of one.
type released struct{ version, outer string }

// readPackage reads the resource of a package, and tells the digests of its
// tarballs at the end, if the package is the one of that name. The signature is
// not checked.
func readPackage(r io.Reader, name string, teach func(version string, d exchange.Digest)) error {
	text, err := hub.ReadAll(r, maxResource)
	if err != nil {
		return err
	}
	var releases []released
	found := ""
	err = fields(text, func(number protowire.Number, payload []byte) error {
		if number != signedPayload {
			return nil
		}
		return fields(payload, func(number protowire.Number, value []byte) error {
			switch number {
			case packageName:
				found = string(value)
			case packageReleases:
				one, err := readRelease(value)
				if err != nil {
					return err
				}
				if len(releases) == maxReleases {
					return fmt.Errorf("more than %d releases", maxReleases)
				}
				releases = append(releases, one)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	if found != name {
		return fmt.Errorf("resource of the package %.100q", found)
	}
	for _, one := range releases {
		if len(one.outer) == 32 {
			teach(one.version, exchange.NewDigest("sha256", []byte(one.outer)))
		}
	}
	return nil
}

func readRelease(message []byte) (one released, err error) {
	err = fields(message, func(number protowire.Number, value []byte) error {
		switch {
		case number != releaseVersion && number != releaseOuter:
		case len(value) > maxText:
			return fmt.Errorf("a version of more than %d bytes", maxText)
		case number == releaseVersion:
			one.version = string(value)
		default:
			one.outer = string(value)
		}
		return nil
	})
	return one, err
}

// fields calls f with every field of a message that has a length, and skips others.
func fields(message []byte, f func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if kind == protowire.BytesType {
			_, _, head := protowire.ConsumeTag(message)
			value, _ := protowire.ConsumeBytes(message[head:])
			if err := f(number, value); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
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
