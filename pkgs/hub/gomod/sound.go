package gomod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// maxInfo is how large an .info may be; one has about 300 bytes.
const maxInfo = 64 << 10

// sound is next without answers of status 200 that are none: the page of who
// wants to see a login first, and an .info that is not of the version. They would
// be stored for ever. Another mirror is asked instead, and that one not for a while.
func (h *Hub) sound(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		for try := 1; ; try++ {
			ask := req.Clone()
			ask.Avoid = append(slices.Clip(req.Avoid), h.avoided(req.Key)...)
			if isInfo(req) {
				ask.Resume = nil // it is read here, as a whole
			}
			resp, err := next.Get(ctx, ask)
			if err != nil || resp.Entry.Status != http.StatusOK {
				return resp, err
			}
			resp, mirror, err := checked(req, resp)
			if err == nil {
				return resp, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			h.avoid(req.Key, mirror)
			if try == maxTries {
				return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content", Err: err}
			}
		}
	})
}

// checked is resp, if it may be what req asks for; mirror is where it is from. It
// is closed if there is an error.
func checked(req *exchange.Request, resp *exchange.Response) (_ *exchange.Response, mirror string, err error) {
	mirror = resp.Entry.Mirror
	if mediaType, _, _ := mime.ParseMediaType(resp.Entry.Header.Get("Content-Type")); mediaType == "text/html" && !resp.Resumed {
		if resp, err = notPage(resp); err != nil {
			return nil, mirror, fmt.Errorf("%v from %s: %w", req.Key, mirror, err)
		}
	}
	if !isInfo(req) {
		return resp, mirror, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxInfo+1))
	resp.Body.Close()
	if err == nil {
		err = checkInfo(text, req.Version)
	}
	if err != nil {
		return nil, mirror, fmt.Errorf("%v from %s: %w", req.Key, mirror, err)
	}
	own := *resp
	own.Body, own.Ranges = io.NopCloser(bytes.NewReader(text)), nil
	return &own, mirror, nil
}

// notPage is resp, which says that it is a page, unless it begins like one: some
// mirrors say so of all files.
func notPage(resp *exchange.Response) (*exchange.Response, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(resp.Body, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		resp.Body.Close()
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(head[:n], " \t\r\n\ufeff"), []byte("<")) {
		resp.Body.Close()
		return nil, errors.New("a page")
	}
	own := *resp
	own.Body, own.Ranges = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:n]), resp.Body), resp.Body}, nil
	return &own, nil
}

// isInfo says whether req asks what is said of a version.
func isInfo(req *exchange.Request) bool {
	return strings.HasSuffix(req.Key.Path, ".info") || strings.HasSuffix(req.Key.Path, "/@latest")
}

// checkInfo checks what is said of a version, or of what a query means ("" is the
// latest). go takes no other version for a canonical one either.
func checkInfo(text []byte, version string) error {
	if len(text) > maxInfo {
		return fmt.Errorf("more than %d bytes", maxInfo)
	}
	var info struct{ Version string }
	if err := json.Unmarshal(text, &info); err != nil {
		return err
	}
	switch {
	case !semver.IsValid(info.Version):
		return errors.New("it has no version")
	case isCanonical(version) && info.Version != version:
		return fmt.Errorf("it is of version %.100s", info.Version)
	}
	return nil
}
