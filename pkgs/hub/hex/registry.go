package hex

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/protobuf"
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

// readPackage reads the resource of a package, and tells the digests of its
// tarballs, if the package is the one of that name. The signature is not checked.
func readPackage(r io.Reader, name string, teach func(version string, d exchange.Digest)) error {
	text, err := hub.ReadAll(r, maxResource)
	if err != nil {
		return err
	}
	signed, err := protobuf.Parse(text)
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	pkg, err := protobuf.Parse(signed.Last(signedPayload))
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if found := pkg.Last(packageName); string(found) != name {
		return fmt.Errorf("resource of the package %.100q", found)
	}
	if len(pkg[packageReleases]) > maxReleases {
		return fmt.Errorf("more than %d releases", maxReleases)
	}
	digests := map[string]exchange.Digest{} // taught when all is found good
	for _, text := range pkg[packageReleases] {
		release, err := protobuf.Parse(text)
		version, outer := release.Last(releaseVersion), release.Last(releaseOuter)
		switch {
		case err != nil:
			return fmt.Errorf("release: %w", err)
		case len(version) > maxText:
			return fmt.Errorf("a version of more than %d bytes", maxText)
		case len(outer) == sha256.Size:
			digests[string(version)] = exchange.NewDigest("sha256", outer)
		}
	}
	for version, digest := range digests {
		teach(version, digest)
	}
	return nil
}

// readTools reads the list of tools at p, such as /installs/hex-1.x.csv, with the
// columns version, SHA-512 and Elixir, or /installs/hex.csv, whose fourth one is
// that of Erlang's release, which then is in the names of files.
func readTools(p string, r io.Reader, teach hub.Teach) error {
	name, old := strings.CutSuffix(strings.TrimSuffix(path.Base(p), ".csv"), "-1.x")
	suffix := ""
	switch {
	case name == "hex":
		suffix = ".ez"
	case name == "rebar" && !old:
		name = "rebar3"
	}
	return hub.Lines(r, maxText, func(line []byte) error {
		row := strings.Split(string(bytes.TrimSpace(line)), ",")
		if len(row) < 3 {
			return nil
		}
		file := row[2] + "/" + name + "-" + row[0]
		if !old && len(row) > 3 {
			file += "-otp-" + row[3]
		}
		d, err := exchange.ParseDigest("sha512:" + strings.ToLower(row[1]))
		if to, ok := hub.Beside(path.Dir(p)+"/", file+suffix); ok && err == nil {
			teach(to, exchange.Fact{Digest: d})
		}
		return nil
	})
}
