package apk

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/ini"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/members"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// The algorithms of an index's C: fields, Q1 and Q2, as digests spell them: the
// SHA-1 or SHA-256 of a package's control stream, beneath which the package's
// own chain hangs (see [NewHash]).
const (
	Q1 = "apk1"
	Q2 = "apk2"
)

// maxUnpacked is what signature and control may unpack to, each, in bytes; some
// hundred KiB are the most that is known.
const maxUnpacked = 8 << 20

var errData = errors.New("the data is not what the control promises")

// NewHash is the hash of an algorithm ([hub.NewHash]), nil if that is neither [Q1] nor
// [Q2].
//
// A package is up to three streams of gzip, one behind the other: signature,
// control, data. The index names the control's hash, and the file .PKGINFO in
// the control the data's, datahash. The sum is that of the control if the data
// is what it promises: so a sum as an index has it proves all of a package but its
// signature, which only its own CRC-32 vouches for until the client has
// verified it.
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case Q1:
		return hub.NewHash(sha1.Size, func(content io.Reader) ([]byte, error) { return sumPackage(content, sha1.New()) })
	case Q2:
		return hub.NewHash(sha256.Size, func(content io.Reader) ([]byte, error) { return sumPackage(content, sha256.New()) })
	}
	return nil
}

// sumPackage is the sum by control of the package that content is.
func sumPackage(content io.Reader, control hash.Hash) ([]byte, error) {
	in := members.NewReader(content)
	for {
		control.Reset()
		stream, err := in.Next(control)
		if err != nil {
			return nil, err
		}
		plain := &io.LimitedReader{R: stream, N: maxUnpacked}
		signature, datahash, err := readControl(plain)
		if err == nil {
			_, err = io.Copy(io.Discard, plain)
		}
		switch {
		case err != nil:
			return nil, err
		case plain.N == 0:
			return nil, errors.New("the control is too large")
		case signature:
			continue
		}
		data := sha256.New()
		if _, err := io.Copy(data, in.Rest()); err != nil {
			return nil, err
		}
		if datahash != nil && !bytes.Equal(data.Sum(nil), datahash) {
			return nil, errData
		}
		return control.Sum(nil), nil
	}
}

// readControl reads the archive in a stream that is either a signature or a
// control. Neither has an archive's end.
func readControl(r io.Reader) (signature bool, datahash []byte, err error) {
	found := false
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		switch {
		case err == io.EOF && !found:
			return false, nil, errors.New("no .PKGINFO in the control")
		case err == io.EOF:
			return false, datahash, nil
		case err != nil:
			return false, nil, err
		case strings.HasPrefix(h.Name, ".SIGN."):
			return true, nil, nil
		case h.Name == ".PKGINFO":
			found = true
			if datahash, err = readInfo(archive); err != nil {
				return false, nil, err
			}
		}
	}
}

// readInfo is the datahash that a .PKGINFO has; nil if there is none.
func readInfo(r io.Reader) (datahash []byte, err error) {
	err = ini.Read(r, func(_, key, value string) error {
		if key != "datahash" {
			return nil
		}
		sum, err := hex.DecodeString(value)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("datahash %q", value)
		}
		datahash = sum
		return nil
	})
	return datahash, err
}
