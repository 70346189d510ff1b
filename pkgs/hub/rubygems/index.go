package rubygems

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const (
	maxLine   = 8 << 20 // bytes of a line, which has all versions of a gem
	maxHeader = 4 << 10 // of versions, which has its date
)

// Gate refuses a list of versions that is older than one seen before.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if req.Key.Path != versionsPath || req.Head {
			return next.Get(ctx, req)
		}
		return h.hub.Judged(ctx, next, req, h.newest.Judge(ctx, req, cached, maxHeader, createdAt))
	})
}

// createdAt is the date in the header of versions, RFC 3339; zero if it has none.
func createdAt(head []byte) time.Time {
	head, _, found := bytes.Cut(head, []byte("---\n"))
	for line := range bytes.Lines(head) {
		if value, ok := bytes.CutPrefix(line, []byte("created_at:")); ok && found {
			if t, err := time.Parse(time.RFC3339, string(bytes.TrimSpace(value))); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

// records calls f with the lines of a file of the compact index, which begin
// behind a line of three dashes, and without it at once.
func records(r io.Reader, f func(first, rest string)) error {
	header := true
	return hub.Lines(r, maxLine, func(line []byte) error {
		switch first, rest, found := strings.Cut(string(line), " "); {
		case string(line) == "---":
			header = false
		case header && strings.HasSuffix(first, ":"):
		case found:
			f(first, rest)
		}
		return nil
	})
}

// readVersions teaches the MD5 of each gem's info; the last line of a gem holds.
func readVersions(r io.Reader, teach hub.Teach) error {
	return records(r, func(name, rest string) {
		digest, err := exchange.ParseDigest("md5:" + rest[strings.LastIndexByte(rest, ' ')+1:])
		if err == nil && gemName.MatchString(name) {
			teach(infoPrefix+name, exchange.Fact{Digest: digest})
		}
	})
}

// infoOf reads the info of a gem: VERSION[-PLATFORM] DEPENDENCIES|REQUIREMENTS, of
// which checksum is one.
func infoOf(name string) func(r io.Reader, teach hub.Teach) error {
	return func(r io.Reader, teach hub.Teach) error {
		return records(r, func(version, rest string) {
			_, requirements, _ := strings.Cut(rest, "|")
			for item := range strings.SplitSeq(requirements, ",") {
				sum, ok := strings.CutPrefix(item, "checksum:")
				digest, err := exchange.ParseDigest("sha256:" + sum)
				if path, is := hub.Canonical(gemPrefix + name + "-" + version + ".gem"); ok && is && err == nil {
					teach(path, exchange.Fact{Digest: digest})
				}
			}
		})
	}
}
