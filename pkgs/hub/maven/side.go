package maven

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const maxSide = 4 << 10 // bytes of a side file

// cutSide says whose checksum the file at path is, and by which algorithm; "" if
// it is no side file.
func cutSide(path string) (of, algorithm string) {
	for _, algorithm := range [...]string{"sha1", "md5", "sha256", "sha512"} {
		if of, ok := strings.CutSuffix(path, "."+algorithm); ok && !strings.HasSuffix(of, "/") {
			return of, algorithm
		}
	}
	return path, ""
}

// computed is the side file of what next has at of.
func (h *Hub) computed(ctx context.Context, next exchange.Source, req *exchange.Request, of, algorithm string) (*exchange.Response, error) {
	target, ok := strings.CutSuffix(req.Target, "."+algorithm)
	if !ok {
		target = of
	}
	ask := h.request(of, target)
	ask.Head, ask.Client = req.Head, req.Client
	resp, err := h.hub.Edited(ctx, next, ask, "maven 1 "+algorithm, func(dst io.Writer, src io.Reader) error {
		sum := exchange.Digest(algorithm).New()
		if _, err := io.Copy(sum, src); err != nil {
			return err
		}
		_, err := io.WriteString(dst, hex.EncodeToString(sum.Sum(nil)))
		return err
	})
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	side := hub.WithField(resp, "Content-Type", "text/plain; charset=utf-8")
	side.Entry.Key = req.Key
	return side, nil
}

// checked is a side file that is a checksum, and of what is stored where
// something is: from the first mirror that has such a one. It teaches what
// released content is to be; what may change is not asked for here.
func (h *Hub) checked(ctx context.Context, next exchange.Source, req *exchange.Request, of, algorithm string) (*exchange.Response, error) {
	return h.hub.Judged(ctx, next, req, hub.Beginning(maxSide+1, func(text []byte) error {
		digest, err := parseSide(text, algorithm)
		if err == nil {
			err = h.compare(ctx, of, digest)
		}
		if err == nil {
			h.hub.Ledger.Teach(exchange.Key{Hub: req.Key.Hub, Path: of}, exchange.Fact{Digest: digest})
		}
		return err
	}))
}

// parseSide is the checksum in a side file: hex, and maybe the file's name behind it.
func parseSide(text []byte, algorithm string) (exchange.Digest, error) {
	fields := strings.Fields(string(text))
	if len(text) > maxSide || len(fields) == 0 || len(fields) > 2 {
		return "", errors.New("a side file that is no checksum")
	}
	return exchange.ParseDigest(algorithm + ":" + strings.ToLower(fields[0]))
}

// compare is an error if other content is stored at path than digest says.
//
// BUG: such content is not dropped: a hub cannot. The side file is refused, so
// that nobody takes the pair for good.
func (h *Hub) compare(ctx context.Context, path string, digest exchange.Digest) error {
	resp, err := h.hub.Stored(ctx, h.request(path, path))
	if err != nil {
		return nil // there is nothing to compare with
	}
	defer resp.Body.Close()
	got := resp.Entry.Digest
	if got.Algorithm() != digest.Algorithm() {
		got = resp.Entry.Proved
	}
	if got.Algorithm() != digest.Algorithm() {
		sum := digest.New()
		if _, err := io.Copy(sum, resp.Body); err != nil {
			return nil // a transfer under way has failed
		}
		got = exchange.NewDigest(digest.Algorithm(), sum.Sum(nil))
	}
	if got != digest {
		return fmt.Errorf("%s is stored, not %s", got, digest)
	}
	return nil
}
