package gomod

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

const (
	sumdbPrefix = "/sumdb/"

	latestTTL = 30 * time.Second
	maxNote   = 64 << 10 // bytes of a lookup, or of a signed tree
)

// parseSumdb fills in a request for NAME/ENDPOINT.
func (h *Hub) parseSumdb(req *exchange.Request, rest string) error {
	name, endpoint, _ := strings.Cut(rest, "/")
	if !slices.Contains(h.opts.Sumdb, name) {
		return notFound("%s: not a checksum database of this proxy", name)
	}
	// The target upstream begins behind the name, which is spelled in one way only.
	_, target, ok := strings.Cut(strings.TrimPrefix(req.Target, sumdbPrefix), "/")
	if !ok {
		return notFound("%s: not a path of a checksum database", req.Key.Path)
	}
	req.Origin, req.Target = name, "/"+target
	class, fresh := freshness.Immutable, time.Duration(0)
	kind, what, _ := strings.Cut(endpoint, "/")
	switch {
	case endpoint == "supported":
		class = freshness.Passthrough
	case endpoint == "latest":
		class, fresh = freshness.Mutable, latestTTL
	case kind == "lookup":
		if err := parseLookup(req, what); err != nil {
			return notFound("%s: %v", what, err)
		}
		if err := h.public(req); err != nil {
			return err
		}
	case kind == "tile":
		if _, err := tlog.ParseTilePath(endpoint); err != nil {
			return notFound("%s: %v", endpoint, err)
		}
	default:
		return notFound("%s: not a path of a checksum database", req.Key.Path)
	}
	req.Policy = h.hub.Policies.For(req.Key.Path, class, fresh)
	return nil
}

// parseLookup takes MODULE@VERSION apart, both escaped.
func parseLookup(req *exchange.Request, s string) (err error) {
	path, version, _ := strings.Cut(s, "@")
	if req.Package, err = module.UnescapePath(path); err != nil {
		return err
	}
	if req.Version, err = module.UnescapeVersion(version); err != nil {
		return err
	}
	if !isCanonical(req.Version) {
		return fmt.Errorf("%s is not a canonical version", req.Version)
	}
	return nil
}

// supported says whether req asks if a database is passed on. That is answered
// from the configuration: go would ask the database itself after a 404, and stop
// after any other error.
func supported(req *exchange.Request) (name string, ok bool) {
	return req.Origin, req.Origin != "" && req.Target == "/supported"
}

func isLatest(req *exchange.Request) bool { return req.Origin != "" && req.Target == "/latest" }

func (h *Hub) answer(req *exchange.Request, name string) *exchange.Response {
	text := name + " is passed on\n"
	e := &exchange.Entry{
		Key: req.Key, Status: http.StatusOK, Size: int64(len(text)),
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
	}
	resp := &exchange.Response{Entry: e, Body: http.NoBody}
	if !req.Head {
		resp.Body = io.NopCloser(strings.NewReader(text))
	}
	return resp
}

// database asks a checksum database, and looks at what it says before it is stored.
func (h *Hub) database(ctx context.Context, next exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	ask := req.Clone()
	ask.Resume = nil // it is read here, as a whole
	resp, err := next.Get(ctx, ask)
	if err != nil || resp.Entry.Status != http.StatusOK {
		return resp, err
	}
	var check func(text []byte) error
	switch {
	case isLatest(req):
		check = func(text []byte) error { return h.grow(req.Origin, text) }
	case req.Version != "":
		check = func(text []byte) error {
			_, err := hashes(text, req.Package, req.Version)
			return err
		}
	default:
		t, err := tlog.ParseTilePath(strings.TrimPrefix(req.Target, "/"))
		size := int64(t.W) * tlog.HashSize
		if err != nil || t.L < 0 || size > maxNote {
			return resp, nil // of records, whose length is not known; or of hashes as go never asks for
		}
		check = func(text []byte) error {
			if int64(len(text)) != size {
				return fmt.Errorf("a tile of %d bytes, not %d", len(text), size)
			}
			return nil
		}
	}
	text, err := readNote(resp)
	if err == nil {
		err = check(text)
	}
	if err != nil {
		return nil, &exchange.Error{
			Status: http.StatusBadGateway, Message: "the checksum database has no good answer",
			Err: fmt.Errorf("%v from %s: %w", req.Key, resp.Entry.Mirror, err),
		}
	}
	own := *resp
	own.Body, own.Ranges = io.NopCloser(bytes.NewReader(text)), nil
	return &own, nil
}

// readNote reads all of resp, and closes it.
func readNote(resp *exchange.Response) ([]byte, error) {
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxNote+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxNote:
		return nil, fmt.Errorf("more than %d bytes", maxNote)
	case resp.Entry.Size >= 0 && int64(len(text)) != resp.Entry.Size:
		return nil, io.ErrUnexpectedEOF
	}
	return text, nil
}

// grow takes the signed tree in text for the latest one. A smaller one than was
// seen is an error: to go it would look like a database that forks.
func (h *Hub) grow(name string, text []byte) error {
	tree, err := tlog.ParseTree(text)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if tree.N < h.trees[name] {
		return fmt.Errorf("a tree of %d records, after one of %d", tree.N, h.trees[name])
	}
	h.trees[name] = tree.N
	return nil
}

// recall learns from the cache, once after a start, how large the tree was.
func (h *Hub) recall(ctx context.Context, req *exchange.Request) {
	h.mu.Lock()
	_, known := h.trees[req.Origin]
	h.mu.Unlock()
	if known {
		return
	}
	kept := req.Clone()
	kept.Head = false
	if resp, err := h.hub.Stored(ctx, kept); err == nil {
		if text, err := readNote(resp); err == nil {
			_ = h.grow(req.Origin, text) // what is no tree says nothing
		}
	}
}

// hashes are the h1 hashes of a lookup: of the zip, and of go.mod.
func hashes(text []byte, path, version string) (h struct{ zip, mod string }, err error) {
	_, record, _, err := tlog.ParseRecord(text)
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(string(record)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != path || !strings.HasPrefix(fields[2], "h1:") {
			continue // of another version, or another kind of hash
		}
		switch fields[1] {
		case version:
			h.zip = fields[2]
		case version + "/go.mod":
			h.mod = fields[2]
		}
	}
	if h.zip == "" && h.mod == "" {
		return h, fmt.Errorf("a record without %s@%s", path, version)
	}
	return h, nil
}
