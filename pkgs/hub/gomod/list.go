package gomod

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	maxList  = 16 << 20        // bytes of one list
	listTime = 2 * time.Second // for the others, once one mirror has answered
)

// bases are the mirrors as [exchange.Request.Only] names them.
func bases(mirrors []*url.URL) []string {
	var all []string
	for _, u := range mirrors {
		base := strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.EscapedPath(), "/")
		if !slices.Contains(all, base) {
			all = append(all, base)
		}
	}
	return all
}

// merged answers a list of versions with those of all mirrors together, since
// each has what somebody has asked it for. A mirror that fails, or is slower
// than the first by listTime, has no part in it; when none has a list the
// verdict is that of an ordinary request.
func (h *Hub) merged(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		entry    *exchange.Entry
		versions []string
	}
	answers := make(chan answer, len(h.mirrors))
	for _, base := range h.mirrors {
		go func() { // ends with its answer, or with ctx
			e, versions := h.list(ctx, next, req, base)
			answers <- answer{e, versions}
		}()
	}
	var first *exchange.Entry
	var late <-chan time.Time
	versions := map[string]bool{}
	for range h.mirrors {
		select {
		case a := <-answers:
			for _, v := range a.versions {
				versions[v] = true
			}
			if a.entry != nil && first == nil {
				first, late = a.entry, time.After(listTime)
			}
			continue
		case <-late:
		}
		break
	}
	if first == nil {
		return next.Get(ctx, req)
	}
	return listed(req, first, slices.Collect(maps.Keys(versions))), nil
}

// list is one mirror's; nil if it has none.
func (h *Hub) list(ctx context.Context, next exchange.Source, req *exchange.Request, base string) (*exchange.Entry, []string) {
	ask := req.Clone()
	ask.Only, ask.Validate, ask.Resume = base, nil, nil
	resp, err := next.Get(ctx, ask)
	if err != nil {
		return nil, nil
	}
	defer resp.Body.Close()
	if resp.Entry.Status != http.StatusOK {
		return nil, nil
	}
	var versions []string
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxList))
	for lines.Scan() {
		if v := strings.TrimSpace(lines.Text()); semver.IsValid(v) {
			versions = append(versions, v)
		}
	}
	if lines.Err() != nil {
		return nil, nil
	}
	return resp.Entry, versions
}

// listed is a list as a response; 304 if it is what req validates.
func listed(req *exchange.Request, from *exchange.Entry, versions []string) *exchange.Response {
	semver.Sort(versions)
	var text bytes.Buffer
	for _, v := range versions {
		text.WriteString(v + "\n")
	}
	sum := sha256.Sum256(text.Bytes())
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	e := &exchange.Entry{
		Key: req.Key, Status: http.StatusOK, Size: int64(text.Len()), Mirror: from.Mirror,
		Header:    http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Etag": {etag}},
		Requested: from.Requested, Received: from.Received,
	}
	if req.Validate != nil && req.Validate.Header.Get("Etag") == etag {
		e.Status = http.StatusNotModified
		return &exchange.Response{Entry: e, Body: http.NoBody}
	}
	return &exchange.Response{Entry: e, Body: io.NopCloser(&text)}
}
