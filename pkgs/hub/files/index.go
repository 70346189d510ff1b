package files

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Rewrite has checksum files taught to the ledger, leads the absolute links of
// listings back here, and tells a client of a directory that its path lacks the
// slash. Without a hub of its own ([Options].Hub) it changes nothing.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	if h.opts.Hub == nil {
		return next
	}
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		resp, err := next.Get(ctx, req)
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		p, _, _ := strings.Cut(req.Key.Path, "?")
		switch {
		case strings.HasSuffix(p, "/"):
			if html(resp) {
				resp.Body.Close()
				return h.listing(ctx, next, req)
			}
		case isDirectory(p, resp.Entry.URL):
			resp.Body.Close()
			return moved(req, p), nil
		case sums.MatchString(path.Base(p)) && !resp.NoStore:
			h.opts.Ledger.Learn(next, req, resp.Entry, p[:strings.LastIndexByte(p, '/')+1],
				func(r io.Reader, teach func(string, exchange.Fact)) error { return learn(r, p, teach) })
		}
		return resp, nil
	})
}

func html(resp *exchange.Response) bool {
	return strings.HasPrefix(strings.ToLower(resp.Entry.Header.Get("Content-Type")), "text/html")
}

// listing is a page whose absolute links to the mirrors lead here.
func (h *Hub) listing(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	base := req.Client.Base
	return h.opts.Hub.Edited(ctx, next, req, "files 1 "+base, func(dst io.Writer, src io.Reader) error {
		return hub.CopyHTML(dst, src, func(t *hub.Tag) error {
			t.Map("href", func(link string) string {
				if strings.Contains(link, "://") {
					if p, ok := h.links.Map(link, nil); ok {
						return base + p
					}
				}
				return link
			})
			return nil
		}, "a")
	})
}

// isDirectory says that a mirror redirected from p to the same with a slash.
func isDirectory(p, at string) bool {
	u, err := url.Parse(at)
	return err == nil && at != "" && strings.HasSuffix(u.EscapedPath(), path.Base(p)+"/")
}

// moved is that redirect, as the client needs it: relative links of the listing
// count from the slash.
func moved(req *exchange.Request, p string) *exchange.Response {
	const text = "the directory is at the path with a slash\n"
	header := http.Header{"Location": {path.Base(p) + "/"}, "Content-Type": {"text/plain; charset=utf-8"}}
	return &exchange.Response{
		Entry: &exchange.Entry{Key: req.Key, Status: http.StatusMovedPermanently, Header: header, Size: int64(len(text))},
		Body:  io.NopCloser(strings.NewReader(text)),
	}
}

// sums are the names of checksum files.
var sums = regexp.MustCompile(`(?i)^(SHA(256|512)SUMS|sha(256|512)sum\.txt|CHECKSUM|.+\.sha(256|512))$`)

var bsd = regexp.MustCompile(`^SHA(256|512) \((.+)\) = ([0-9a-fA-F]+)$`)

// maxSumLine is the longest line of a checksum file that is read, in bytes.
const maxSumLine = 8 << 10

// learn teaches what a checksum file at p says of the files beside it: lines of
// sha256sum ("HEX  NAME", "HEX *NAME"), of BSD ("SHA256 (NAME) = HEX"), or a
// lone HEX that is of the file the checksum file is named for. Other lines, such
// as those of a signature around, say nothing.
func learn(r io.Reader, p string, teach func(string, exchange.Fact)) error {
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
		d, ok := digest(sum)
		if !ok {
			continue
		}
		if name == "" { // the whole file is one sum
			teach(dir+strings.TrimSuffix(base, path.Ext(base)), exchange.Fact{Digest: d})
			continue
		}
		if to, ok := beside(dir, name); ok {
			teach(to, exchange.Fact{Digest: d})
		}
	}
	return lines.Err()
}

// digest is the sum in hexadecimal, whose length tells its algorithm.
func digest(sum string) (exchange.Digest, bool) {
	algorithm := map[int]string{64: "sha256", 128: "sha512"}[len(sum)]
	raw, err := hex.DecodeString(sum)
	if algorithm == "" || err != nil {
		return "", false
	}
	return exchange.NewDigest(algorithm, raw), true
}

// beside is the canonical path of a file named in the canonical directory dir,
// if it lies there or below.
func beside(dir, name string) (string, bool) {
	name = strings.TrimPrefix(name, "./")
	if strings.HasPrefix(name, "/") {
		return "", false
	}
	canonical, _, err := hub.Path(&url.URL{Path: "/" + name})
	if err != nil {
		return "", false
	}
	return dir + canonical[1:], true
}
