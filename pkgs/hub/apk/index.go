package apk

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// readIndex teaches what APKINDEX.tar.gz in the canonical directory dir says: an
// archive, whose first file may be a signature.
func readIndex(plain io.Reader, dir string, teach hub.Teach) error {
	for archive := tar.NewReader(plain); ; {
		switch head, err := archive.Next(); {
		case err == io.EOF:
			return errors.New("no APKINDEX in the archive")
		case err != nil:
			return fmt.Errorf("archive: %w", err)
		case head.Name == "APKINDEX":
			if err := readRecords(archive, dir, teach); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, plain) // damage shows at the end
			return err
		}
	}
}

// readRecords reads the records of an index: P: name, V: version, S: size, C: checksum.
func readRecords(r io.Reader, dir string, teach hub.Teach) error {
	return deb822.Rows(r, []string{"P", "V", "S", "C"}, func(values []string) {
		name, version := values[0], values[1]
		size, _ := strconv.ParseInt(values[2], 10, 64)
		f := exchange.Fact{Size: size, Digest: checksum(values[3])}
		p, ok := hub.Canonical(dir + name + "-" + version + ".apk")
		if ok && name != "" && version != "" && (f.Size > 0 || f.Digest != "") {
			teach(p, f)
		}
	})
}

// checksum is the digest that a C: field means, base64 behind Q1 or Q2; "" if it
// is another one.
func checksum(value string) exchange.Digest {
	algorithm := map[string]string{"Q1": Q1, "Q2": Q2}[value[:min(len(value), 2)]]
	if algorithm == "" {
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(value[2:])
	if err != nil || len(sum) != NewHash(algorithm).Size() {
		return ""
	}
	return exchange.NewDigest(algorithm, sum)
}
