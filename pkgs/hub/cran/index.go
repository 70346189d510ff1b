package cran

import (
	"bufio"
	"io"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/rds"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// fields are those of an index that say what a file is.
var fields = []string{"Package", "Version", "MD5sum", "File", "Path"}

// readIndex teaches what an index in the canonical directory dir says of its files.
func readIndex(plain io.Reader, dir string, teach hub.Teach) error {
	ext := ext(dir)
	row := func(values []string) {
		name, version, md5, file, below := values[0], values[1], values[2], values[3], values[4]
		digest, err := exchange.ParseDigest("md5:" + strings.ToLower(md5))
		if err != nil || name == "" || version == "" {
			return
		}
		if file == "" {
			file = name + "_" + version + ext
		}
		if p, ok := hub.Beside(dir, path.Join(below, file)); ok {
			teach(p, exchange.Fact{Digest: digest})
		}
	}
	in := bufio.NewReaderSize(plain, 64<<10)
	if magic, _ := in.Peek(len(rds.Magic)); string(magic) == rds.Magic {
		return rds.Matrix(in, fields, row)
	}
	return deb822.Rows(in, fields, row)
}
