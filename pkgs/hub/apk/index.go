package apk

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads an index behind the client.
//
// BUG: a package that was rebuilt under its name, and is asked for while the new
// index is still being read, is answered as the index before has it: apk finds it
// wrong, and gets the right one when it asks again.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
	dir, base := path.Split(req.Key.Path)
	if base != "APKINDEX.tar.gz" || resp.Entry.Status != http.StatusOK || resp.NoStore || req.Head {
		return
	}
	h.ledger.Learn(next, req, resp.Entry, dir, func(r io.Reader, teach func(string, exchange.Fact)) error {
		return readIndex(r, func(file string, f exchange.Fact) {
			if p, ok := hub.Canonical(dir + file); ok {
				teach(p, f)
			}
		})
	})
}

// maxLine is how long a line of an index may be.
const maxLine = 256 << 10

// readIndex reads APKINDEX.tar.gz: streams of gzip, one behind the other, the
// first of which may be a signature.
func readIndex(r io.Reader, teach func(file string, f exchange.Fact)) error {
	plain, err := hub.Unpack(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	for archive := tar.NewReader(plain); ; {
		switch head, err := archive.Next(); {
		case err == io.EOF:
			return errors.New("no APKINDEX in the archive")
		case err != nil:
			return fmt.Errorf("archive: %w", err)
		case head.Name == "APKINDEX":
			if err := readRecords(archive, teach); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, plain) // damage shows at the end
			return err
		}
	}
}

// readRecords reads the records of an index: P: name, V: version, S: size, C: checksum.
func readRecords(r io.Reader, teach func(file string, f exchange.Fact)) error {
	var name, version string
	var f exchange.Fact
	end := func() {
		if name != "" && version != "" && (f.Size > 0 || f.Digest != "") {
			teach(name+"-"+version+".apk", f)
		}
		name, version, f = "", "", exchange.Fact{}
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) < 2 || line[1] != ':' {
			if len(line) == 0 {
				end()
			}
			continue
		}
		switch value := line[2:]; line[0] {
		case 'P':
			name = string(value)
		case 'V':
			version = string(value)
		case 'S':
			f.Size, _ = strconv.ParseInt(string(value), 10, 64)
		case 'C':
			f.Digest = checksum(value)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	end()
	return nil
}

// checksum is the digest that a C: field means, base64 behind Q1 or Q2; "" if it
// is another one.
func checksum(value []byte) exchange.Digest {
	var algorithm string
	switch {
	case bytes.HasPrefix(value, []byte("Q1")):
		algorithm = Q1
	case bytes.HasPrefix(value, []byte("Q2")):
		algorithm = Q2
	default:
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(string(value[2:]))
	if err != nil || len(sum) != NewHash(algorithm).Size() {
		return ""
	}
	return exchange.NewDigest(algorithm, sum)
}
