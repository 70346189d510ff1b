package terraform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// Bounds of what a registry says.
const (
	maxVersions  = 10_000
	maxPlatforms = 64
	maxDocument  = 1 << 20 // bytes of what is said of one archive, keys for its signature included
	atOnce       = 4       // such documents that are asked for together
)

// A machine is a platform that a version is for.
type machine struct{ OS, Arch string }

// readVersions calls each for every version in a registry's list.
func readVersions(src io.Reader, each func(version string, platforms []machine) error) error {
	var name string
	var one machine
	var all []machine
	n, seen := 0, false
	err := hub.CopyJSON(io.Discard, src, hub.JSONRules{
		"versions/*/version":          hub.JSONInto(&name),
		"versions/*/platforms/*/os":   hub.JSONInto(&one.OS),
		"versions/*/platforms/*/arch": hub.JSONInto(&one.Arch),
		"versions/*/platforms/*/": hub.JSONEnd(func() error {
			if isName(one.OS) && isName(one.Arch) && len(all) < maxPlatforms {
				all = append(all, one)
			}
			one = machine{}
			return nil
		}),
		"versions/*/": hub.JSONEnd(func() (err error) {
			if n++; n > maxVersions {
				return fmt.Errorf("more than %d versions", maxVersions)
			}
			if isVersion(name) {
				err = each(name, all)
			}
			name, all = "", nil
			return err
		}),
		"versions/": hub.JSONEnd(func() error {
			seen = true
			return nil
		}),
	})
	if err == nil && !seen {
		err = errors.New("no list of versions")
	}
	return err
}

// writeIndex makes the index of a registry's list.
func writeIndex(dst io.Writer, src io.Reader) error {
	b := []byte(`{"versions":{`)
	comma := ""
	err := readVersions(src, func(version string, _ []machine) error {
		b = append(b, comma...)
		b = hub.AppendJSONString(b, version)
		b = append(b, ":{}"...)
		comma = ","
		return nil
	})
	if err != nil {
		return err
	}
	_, err = dst.Write(append(b, "}}\n"...))
	return err
}

// An offer is an archive in a version's document.
type offer struct {
	Hashes []string `json:"hashes,omitempty"`
	URL    string   `json:"url"`
}

// version makes a version's document of what the registry says of its archives. It
// is made anew for each client of what the cache has.
func (h *Hub) version(ctx context.Context, next exchange.Source, req *exchange.Request, p place) (*exchange.Response, error) {
	dir := "/" + p.host + "/" + p.provider + "/"
	platforms, found := []machine(nil), false
	list, err := h.consult(ctx, next, req, dir+"index.json", func(r io.Reader, _ *url.URL) error {
		return readVersions(r, func(version string, all []machine) error {
			if version == p.version {
				platforms, found = all, true
			}
			return nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case list.Entry.Status != http.StatusOK:
		return nil, refused(list, p)
	case !found:
		return nil, &exchange.Error{Status: http.StatusNotFound, Message: "no such version"}
	}
	offers, changed, err := h.offers(ctx, next, req, dir+p.version+"/", platforms)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"archives": offers})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	e := *list.Entry
	e.Key, e.Size, e.Digest, e.Proved = req.Key, int64(len(text)), "", ""
	if changed.After(e.Stored) {
		e.Stored = changed
	}
	e.Header = http.Header{"Content-Type": {"application/json"}, "Etag": {`"` + hex.EncodeToString(sum[:16]) + `"`}}
	resp := &exchange.Response{Entry: &e, NoStore: list.NoStore, Outcome: list.Outcome, Body: http.NoBody}
	if !req.Head {
		resp.Body = struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(text), io.NopCloser(nil)}
	}
	return resp, nil
}

// consult reads what is at a path of this hub's for the sake of req.
func (h *Hub) consult(ctx context.Context, next exchange.Source, req *exchange.Request, path string, read func(r io.Reader, from *url.URL) error) (*exchange.Response, error) {
	ask, ok := hub.Follow(h, path)
	if !ok {
		return nil, hub.NoPath(path)
	}
	ask.Client = req.Client
	return hub.Consult(ctx, next, ask, read)
}

// refused is what a client hears where a registry has not answered with content.
func refused(resp *exchange.Response, p place) error {
	e := &exchange.Error{Status: http.StatusBadGateway, Message: "the registry has not answered for " + p.provider, Err: fmt.Errorf("status %d", resp.Entry.Status)}
	if s := resp.Entry.Status; hub.Missing(s) || s == http.StatusForbidden {
		e.Status, e.Message = s, "the registry has no "+p.provider
	}
	return e
}

// offers are the archives for platforms, by OS_ARCH, and when the last of them
// changed. One that the registry does not have after all is left out; if one cannot
// be had, none is.
func (h *Hub) offers(ctx context.Context, next exchange.Source, req *exchange.Request, dir string, platforms []machine) (all map[string]offer, changed time.Time, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu    sync.Mutex // guards all and changed
		wg    sync.WaitGroup
		slots = make(chan struct{}, atOnce)
	)
	all = make(map[string]offer, len(platforms))
	for _, t := range platforms {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			name := t.OS + "_" + t.Arch
			o, at, err := h.offer(ctx, next, req, dir+name+".json")
			if err != nil {
				cancel(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if o != nil {
				all[name] = *o
			}
			if at.After(changed) {
				changed = at
			}
		})
	}
	wg.Wait()
	return all, changed, context.Cause(ctx)
}

// offer is the archive that a platform's document tells of, and when that was
// stored; nil if there is none.
func (h *Hub) offer(ctx context.Context, next exchange.Source, req *exchange.Request, path string) (o *offer, at time.Time, err error) {
	var digest exchange.Digest
	resp, err := h.consult(ctx, next, req, path, func(r io.Reader, from *url.URL) (err error) {
		o, digest, err = h.readOffer(r, from, h.place(path))
		return err
	})
	switch {
	case err != nil:
		return nil, at, err
	case hub.Missing(resp.Entry.Status):
		return nil, at, nil
	case resp.Entry.Status != http.StatusOK:
		return nil, at, &exchange.Error{Status: http.StatusBadGateway, Message: "the registry has not answered for an archive", Err: fmt.Errorf("%s: status %d", path, resp.Entry.Status)}
	}
	if digest != "" {
		h.tell(o.URL, digest, func(path string, f exchange.Fact) { h.hub.Ledger.Teach(exchange.Key{Hub: h.hub.Name, Path: path}, f) })
	}
	return o, resp.Entry.Stored, nil
}

// readOffer reads the document of the platform p that was at from; digest is "" if it says
// none, or the archive is elsewhere.
func (h *Hub) readOffer(src io.Reader, from *url.URL, p place) (*offer, exchange.Digest, error) {
	text, err := hub.ReadAll(src, maxDocument)
	if err != nil {
		return nil, "", err
	}
	var said struct {
		URL string `json:"download_url"`
		Sum string `json:"shasum"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, "", err
	}
	if said.URL == "" {
		return nil, "", errors.New("no download_url")
	}
	o := &offer{}
	ours := false
	o.URL, ours = h.lead(said.URL, from, p)
	digest, err := exchange.ParseDigest("sha256:" + said.Sum)
	if err != nil {
		return o, "", nil
	}
	o.Hashes = []string{"zh:" + said.Sum}
	if !ours {
		digest = ""
	}
	return o, digest, nil
}
