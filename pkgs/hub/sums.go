package hub

import (
	"bufio"
	"encoding/hex"
	"io"
	"path"
	"regexp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

var sums = regexp.MustCompile(`(?i)^(SHA(256|512)SUMS|sha(256|512)sum\.txt|CHECKSUM|.+\.sha(256|512))$`)

// IsSums says that a file of this name is a checksum file.
func IsSums(base string) bool { return sums.MatchString(base) }

var bsd = regexp.MustCompile(`^SHA(256|512) \((.+)\) = ([0-9a-fA-F]+)$`)

// maxSumLine is the longest line of a checksum file that is read, in bytes.
const maxSumLine = 8 << 10

// ReadSums teaches what a checksum file at p, a canonical path, says of the files beside it: lines of
// sha256sum ("HEX  NAME", "HEX *NAME"), of BSD ("SHA256 (NAME) = HEX"), or a
// lone HEX that is of the file the checksum file is named for. Other lines, such
// as those of a signature around, say nothing.
func ReadSums(p string, r io.Reader, teach func(p string, f exchange.Fact)) error {
	dir, base := path.Split(p)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxSumLine)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		sum, name, _ := strings.Cut(line, " ")
		if m := bsd.FindStringSubmatch(line); m != nil {
			sum, name = m[3], m[2]
		} else {
			name = strings.TrimPrefix(strings.TrimLeft(name, " "), "*")
		}
		d, ok := sumOf(sum)
		if !ok {
			continue
		}
		if name == "" { // the whole file is one sum
			teach(dir+strings.TrimSuffix(base, path.Ext(base)), exchange.Fact{Digest: d})
			continue
		}
		if to, ok := Beside(dir, name); ok {
			teach(to, exchange.Fact{Digest: d})
		}
	}
	return lines.Err()
}

// sumOf is the digest of a sum in hexadecimal, whose length tells its algorithm.
func sumOf(sum string) (exchange.Digest, bool) {
	algorithm := map[int]string{64: "sha256", 128: "sha512"}[len(sum)]
	raw, err := hex.DecodeString(sum)
	if algorithm == "" || err != nil {
		return "", false
	}
	return exchange.NewDigest(algorithm, raw), true
}

// Beside is the canonical path of a file named in the canonical directory dir, as
// lists of files name it; ok is false if it does not lie there or below.
func Beside(dir, name string) (p string, ok bool) {
	name = strings.TrimPrefix(name, "./")
	if strings.HasPrefix(name, "/") {
		return "", false
	}
	if p, ok = Canonical("/" + name); !ok {
		return "", false
	}
	return dir + p[1:], true
}
