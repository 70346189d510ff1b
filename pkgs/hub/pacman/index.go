package pacman

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads a database behind the client.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
	dir, _ := path.Split(req.Key.Path)
	h.opts.Learn(next, req, resp, dir, func(plain io.Reader, teach hub.Teach) error {
		return readDatabase(plain, func(file string, f exchange.Fact) {
			if p, ok := hub.Canonical(dir + file); ok {
				teach(p, f)
			}
		})
	})
}

// maxLine is how long a line of a description may be.
const maxLine = 256 << 10

// readDatabase reads a database: an archive with a directory a package, in which
// desc describes it.
func readDatabase(plain io.Reader, teach func(file string, f exchange.Fact)) error {
	buf := make([]byte, 0, 64<<10)
	for archive := tar.NewReader(plain); ; {
		head, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if path.Base(head.Name) != "desc" {
			continue
		}
		if err := readDesc(archive, buf, teach); err != nil {
			return fmt.Errorf("%q: %w", head.Name, err)
		}
	}
}

// readDesc reads a description, in which a line %FIELD% is before the lines of
// its value. The signature of a package is known from it too.
func readDesc(r io.Reader, buf []byte, teach func(file string, f exchange.Fact)) error {
	var file, field, md5 string
	var f exchange.Fact
	var signature []byte
	lines := bufio.NewScanner(r)
	lines.Buffer(buf, maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) > 2 && line[0] == '%' && line[len(line)-1] == '%' {
			field = string(line[1 : len(line)-1])
			continue
		}
		if len(line) == 0 {
			field = ""
			continue
		}
		switch field {
		case "FILENAME":
			file = string(line)
		case "CSIZE":
			f.Size, _ = strconv.ParseInt(string(line), 10, 64)
		case "SHA256SUM":
			f.Digest, _ = exchange.ParseDigest("sha256:" + string(line))
		case "MD5SUM":
			md5 = string(line)
		case "PGPSIG":
			signature, _ = base64.StdEncoding.AppendDecode(signature[:0], line)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if file == "" || strings.Contains(file, "/") {
		return nil
	}
	if f.Digest == "" {
		f.Digest, _ = exchange.ParseDigest("md5:" + md5)
	}
	teach(file, f)
	if len(signature) > 0 {
		sum := sha256.Sum256(signature)
		teach(file+".sig", exchange.Fact{Size: int64(len(signature)), Digest: exchange.NewDigest("sha256", sum[:])})
	}
	return nil
}
