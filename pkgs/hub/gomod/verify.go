package gomod

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Bounds of a check.
const (
	maxZip       = 500 << 20 // bytes of a zip, and of what is in it: golang.org/x/mod/zip.MaxZipFile
	maxDirectory = 16 << 20  // bytes of a zip's central directory, about 100 MB of memory
	maxTries     = 4         // mirrors that are asked for one file
	maxWrong     = 1000      // files with mirrors that are avoided
	wrongTime    = 10 * time.Minute
)

// wrongMirror are mirrors that sent a file that is not what the database knows.
type wrongMirror struct {
	mirrors []string
	until   time.Time
}

var errHash = errors.New("does not match the checksum database")

// verified asks for a zip or a go.mod and lets it pass as far as it is proved: a
// short one at once whole, by another mirror if the first is wrong; of a long one
// the end is held back, and the transfer fails if it is wrong.
//
// An h1 is no digest of the file, so the cache cannot prove it. It is a hash over
// the list of files in a zip, which stands at the zip's end; nothing but all of
// it tells. So this happens here, between mirrors and cache, on a temporary copy:
// what is wrong is never stored, and never complete at a client.
func (h *Hub) verified(ctx context.Context, next, cached exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	want, err := h.wanted(ctx, cached, req)
	if err != nil {
		return nil, err
	}
	if want == "" {
		return next.Get(ctx, req)
	}
	ask := req.Clone()
	ask.Resume = nil // all of it is hashed
	for try := 1; ; try++ {
		ask.Avoid = append(slices.Clip(req.Avoid), h.avoided(req.Key)...)
		resp, err := next.Get(ctx, ask)
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		body, err := h.prove(req, resp, want)
		if err == nil {
			proved := *resp
			proved.Body, proved.Ranges = body, nil // what else upstream has is not proved
			return &proved, nil
		}
		if !errors.Is(err, errHash) || try == maxTries {
			return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has the right content", Err: err}
		}
	}
}

// wanted is the h1 that the file of req must have; "" if nobody has asked for it.
func (h *Hub) wanted(ctx context.Context, cached exchange.Source, req *exchange.Request) (string, error) {
	for _, name := range h.opts.Sumdb {
		look, err := h.lookup(name, req)
		if err != nil {
			return "", err
		}
		var resp *exchange.Response
		if h.opts.Verify {
			resp, err = cached.Get(ctx, look)
		} else if resp, err = h.hub.Stored(ctx, look); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", unverified(req, name, err)
		}
		text, err := readNote(resp)
		if status := resp.Entry.Status; status == http.StatusNotFound || status == http.StatusGone {
			return "", notFound("%s: %s does not know it", versionOf(req), name)
		} else if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		if err != nil {
			return "", unverified(req, name, err)
		}
		all, err := hashes(text, req.Package, req.Version)
		if err != nil {
			return "", unverified(req, name, err)
		}
		if strings.HasSuffix(req.Key.Path, ".mod") {
			return all.mod, nil
		}
		return all.zip, nil
	}
	return "", nil
}

// lookup is the request for the record of req's version.
func (h *Hub) lookup(name string, req *exchange.Request) (*exchange.Request, error) {
	path, err := module.EscapePath(req.Package)
	if err != nil {
		return nil, err
	}
	version, err := module.EscapeVersion(req.Version)
	if err != nil {
		return nil, err
	}
	rest := name + "/lookup/" + path + "@" + version
	look := &exchange.Request{Key: exchange.Key{Hub: req.Key.Hub, Path: sumdbPrefix + rest}, Target: sumdbPrefix + rest}
	return look, h.parseSumdb(look, rest)
}

func unverified(req *exchange.Request, name string, err error) error {
	return &exchange.Error{
		Status: http.StatusBadGateway, Message: versionOf(req) + " cannot be verified: " + name + " has no answer",
		Err: fmt.Errorf("look %s up in %s: %w", versionOf(req), name, err),
	}
}

// prove is the content of resp, which it takes over, behind a proof. An errHash:
// it is wrong, and short enough to know that now.
func (h *Hub) prove(req *exchange.Request, resp *exchange.Response, want string) (io.ReadCloser, error) {
	p := &proof{src: resp.Body, size: resp.Entry.Size, strict: h.opts.Verify}
	p.check = func(content io.ReaderAt, size int64) error {
		got, err := hashZip(content, size, versionOf(req))
		if strings.HasSuffix(req.Key.Path, ".mod") {
			got, err = hashMod(content, size)
		}
		if err == nil && got != want {
			err = fmt.Errorf("%s where %s is", got, want)
		}
		if err == nil {
			return nil
		}
		h.avoid(req.Key, resp.Entry.Mirror)
		return fmt.Errorf("%v from %s: %w: %w", req.Key, resp.Entry.Mirror, errHash, err)
	}
	if p.size >= 0 && p.size <= hold {
		p.kept = &memory{}
	} else if f, err := h.spool(); err == nil {
		p.kept = f
	} else if p.strict {
		resp.Body.Close()
		return nil, fmt.Errorf("make a temporary file: %w", err)
	} else {
		return resp.Body, nil // the disk is full, and go checks it too
	}
	if err := p.begin(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (h *Hub) spool() (*os.File, error) {
	if h.hub.Spool == nil {
		return nil, errors.New("no place for it")
	}
	return h.hub.Spool()
}

func (h *Hub) now() time.Time {
	if h.hub.Now == nil {
		return time.Now()
	}
	return h.hub.Now()
}

func (h *Hub) avoided(key exchange.Key) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.wrong[key]; h.now().Before(w.until) {
		return w.mirrors
	}
	return nil
}

func (h *Hub) avoid(key exchange.Key, mirror string) {
	all := append(slices.Clip(h.avoided(key)), mirror)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.wrong) >= maxWrong {
		clear(h.wrong)
	}
	h.wrong[key] = wrongMirror{all, h.now().Add(wrongTime)}
}

// hashMod is the h1 of a go.mod file.
func hashMod(content io.ReaderAt, size int64) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(content, 0, size)), nil
	})
}

// hashZip is the h1 of a module's zip. One that holds anything but plain files
// below the name of its version is refused, as go would do it later: nothing is
// unpacked here, but what is asked of a zip in a store should be true of it.
func hashZip(content io.ReaderAt, size int64, version string) (string, error) {
	if size > maxZip {
		return "", fmt.Errorf("a zip of %d bytes", size)
	}
	directory := &metered{r: content, left: maxDirectory}
	z, err := zip.NewReader(directory, size)
	if err != nil {
		return "", err
	}
	directory.left = 2 * maxZip // from here on what is unpacked is what counts
	names, files := make([]string, 0, len(z.File)), make(map[string]*zip.File, len(z.File))
	total := uint64(0)
	for _, f := range z.File {
		rest, below := strings.CutPrefix(f.Name, version+"/")
		total += f.UncompressedSize64
		switch {
		case !below || !fs.ValidPath(strings.TrimSuffix(rest, "/")) || strings.Contains(rest, `\`):
			return "", fmt.Errorf("the zip has a file %q", f.Name)
		case f.Mode().Type()&^fs.ModeDir != 0:
			return "", fmt.Errorf("the zip has %q, which is no file", f.Name)
		case files[f.Name] != nil:
			return "", fmt.Errorf("the zip has %q twice", f.Name)
		case f.UncompressedSize64 > maxZip || total > maxZip:
			return "", errors.New("the zip unpacks to more than is allowed")
		}
		names, files[f.Name] = append(names, f.Name), f
	}
	// A file of a zip ends where its header says, or is an error.
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return files[name].Open() })
}

// metered is an r of which not more than left can be read.
type metered struct {
	r    io.ReaderAt
	left int64
}

func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	if m.left -= int64(len(p)); m.left < 0 {
		return 0, errors.New("the zip's directory is larger than allowed")
	}
	return m.r.ReadAt(p, off)
}
