package cran

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads an index behind the client.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
	dir, name := path.Split(req.Key.Path)
	if !slices.Contains(indexes[:], name) || resp.Entry.Status != http.StatusOK {
		return
	}
	h.ledger.Learn(next, req, resp.Entry, dir, func(r io.Reader, teach func(string, exchange.Fact)) error {
		return readIndex(r, dir, teach)
	})
}

// A row is what an index says of one package.
type row struct{ name, version, md5, file, path string }

// fields are those of an index that make a row, in its order.
var fields = [...]string{"Package", "Version", "MD5sum", "File", "Path"}

func (r *row) field(i int) *string {
	return [...]*string{&r.name, &r.version, &r.md5, &r.file, &r.path}[i]
}

// readIndex teaches what an index in the canonical directory dir says of its files.
func readIndex(src io.Reader, dir string, teach func(p string, f exchange.Fact)) error {
	plain, err := hub.Unpack(src)
	if err != nil {
		return err
	}
	defer plain.Close()
	ext := ext(dir)
	each := func(r *row) {
		digest, err := exchange.ParseDigest("md5:" + strings.ToLower(r.md5))
		if err != nil || r.name == "" || r.version == "" {
			return
		}
		file := r.file
		if file == "" {
			file = r.name + "_" + r.version + ext
		}
		if p, ok := hub.Beside(dir, path.Join(r.path, file)); ok {
			teach(p, exchange.Fact{Digest: digest})
		}
	}
	in := bufio.NewReaderSize(plain, 64<<10)
	if magic, _ := in.Peek(len(rdsMagic)); string(magic) == rdsMagic {
		return readRDS(in, each)
	}
	return readDCF(in, each)
}

// maxLine is how long a line of an index may be; one of CRAN's has some kilobytes.
const maxLine = 1 << 20

// readDCF reads an index of lines "Field: value", in which an empty line is
// between packages, and one that begins with a blank goes on with the value.
func readDCF(in io.Reader, each func(*row)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var r row
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			each(&r)
			r = row{}
			continue
		case line[0] == ' ', line[0] == '\t':
			continue // no field of a row has more than a line
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return errors.New("a line that is no field")
		}
		for i := range fields {
			if string(name) == fields[i] {
				*r.field(i) = string(bytes.TrimSpace(value))
			}
		}
	}
	each(&r)
	return lines.Err()
}
