package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
)

// A Flight is a transfer under way, as the admin listener tells of it.
type Flight = admin.Flight

// What a Shelf keeps, for who imports this package alone.
type (
	Entry  = exchange.Entry
	Key    = exchange.Key
	Digest = exchange.Digest
	File   = disk.File
)

// A Shelf is the store of a configuration without a server: for reading it, or
// for changing it while no server has it. It is safe for concurrent use.
type Shelf struct {
	config *Config
	view   *disk.View
	held   closingStore // nil: for reading alone
	names  map[string]bool
}

// LookAtShelf opens a store for reading, also while a server runs. It is
// [fs.ErrNotExist] where there is none yet.
func LookAtShelf(c *Config) (*Shelf, error) {
	s := &Shelf{config: c, names: map[string]bool{}}
	for _, h := range c.Hubs {
		s.names[h.Name] = true
	}
	var err error
	if s.view, err = disk.OpenView(c.Storage.Local.Path); err != nil {
		return nil, err
	}
	return s, nil
}

// HoldShelf opens a store for changes. A server that runs on it is an error, and
// none starts until the shelf is closed.
func HoldShelf(c *Config, o Options) (*Shelf, error) {
	held, err := stores[c.Storage.Type](c, o)
	if err != nil {
		return nil, err
	}
	s, err := LookAtShelf(c)
	if err != nil {
		held.Close()
		return nil, err
	}
	s.held = held
	return s, nil
}

// Close ends what was opened.
func (s *Shelf) Close() error {
	err := s.view.Close()
	if s.held != nil {
		err = errors.Join(err, s.held.Close())
	}
	return err
}

// Entries are those of a hub under a prefix of paths, in no order; hub "" is all
// of every hub.
func (s *Shelf) Entries(ctx context.Context, hub, prefix string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for e, err := range s.view.Entries(ctx, hub, prefix) {
			if err == nil {
				if e = s.owned(e); hub != "" && e.Key.Hub != hub {
					continue
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Files calls each with the files that may be entries, damaged ones among them, as
// Entries has them. A file can be read until each returns, whose error ends it.
func (s *Shelf) Files(ctx context.Context, hub, prefix string, each func(*File) error) error {
	return s.view.Files(ctx, hub, prefix, func(f *File) error {
		if f.Entry != nil {
			if f.Entry = s.owned(f.Entry); hub != "" && f.Entry.Key.Hub != hub {
				return nil
			}
		}
		return each(f)
	})
}

// owned is e under the hub that its file lies in the folder of. A file without
// metadata does not say whose it is.
func (s *Shelf) owned(e *Entry) *Entry {
	if e.Key.Hub != defaultHub || e.Digest != "" {
		return e
	}
	name, _, below := strings.Cut(strings.TrimPrefix(e.Key.Path, "/"), "/")
	if !below || !s.names[name] {
		return e
	}
	own := *e
	own.Key.Hub, own.Key.Path = name, strings.TrimPrefix(e.Key.Path, "/"+name)
	return &own
}

// Open finds an entry and its content, which the caller closes. None is
// [fs.ErrNotExist].
func (s *Shelf) Open(ctx context.Context, key Key) (*Entry, io.ReadSeekCloser, error) {
	return s.view.Open(ctx, key)
}

// Remove removes a file, unless another one has taken its place. That is safe while
// a server runs.
func (s *Shelf) Remove(f *File) error { return s.view.Remove(f) }

// errReading is of what changes a shelf that is for reading.
var errReading = errors.New("the store is open for reading alone")

// KeyPath is the path of a key, or a part of one, for a file whose name lies at a
// slash-separated path. ok is false if no client could ask for it.
func KeyPath(file string) (path string, ok bool) { return hub.Canonical(file) }

// Put keeps content under e.Key, in place of what was there. Content of another
// length than e.Size, or of another digest, is an error, and nothing is kept. A
// size below 0 and a digest of "" are filled in.
func (s *Shelf) Put(ctx context.Context, e *Entry, content io.Reader) (err error) {
	if s.held == nil {
		return errReading
	}
	d, err := s.held.Draft(ctx, e.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	kept := *e
	if err := fill(ctx, d, &kept, content); err != nil {
		return fmt.Errorf("put %v: %w", e.Key, err)
	}
	return d.Commit(ctx, &kept)
}

// fill writes content to d, and says in e what it is.
func fill(ctx context.Context, d store.Draft, e *Entry, content io.Reader) error {
	algorithm := e.Digest
	if algorithm == "" {
		algorithm = "sha256:"
	}
	h := algorithm.New()
	if h == nil {
		return fmt.Errorf("digest %q is of no known algorithm", e.Digest)
	}
	n, buffer := int64(0), make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := content.Read(buffer)
		if m > 0 {
			h.Write(buffer[:m])
			if _, err := d.WriteAt(buffer[:m], n); err != nil {
				return err
			}
			n += int64(m)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if e.Size >= 0 && n != e.Size {
		return fmt.Errorf("%d bytes, want %d", n, e.Size)
	}
	sum := exchange.NewDigest(algorithm.Algorithm(), h.Sum(nil))
	if e.Digest != "" && e.Digest != sum {
		return fmt.Errorf("content is %s, want %s", sum, e.Digest)
	}
	e.Size, e.Digest = n, sum
	return nil
}

// Delete removes the entry of key; none is no error.
func (s *Shelf) Delete(ctx context.Context, key Key) error {
	if s.held == nil {
		return errReading
	}
	return s.held.Delete(ctx, key)
}

// Locate finds what a URL of a client's means: the hub, and the path below its
// mount, by Host if u has one that is a hub's, else by the longest mount. It is
// [fs.ErrNotExist] if no hub serves it.
func (c *Config) Locate(u *url.URL) (hub *Hub, below string, err error) {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	all := c.Served()
	var found *Hub
	for i := range all {
		h := &all[i]
		for _, host := range h.Hosts {
			if u.Host != "" && hostName(u.Host) == host {
				return h, path, nil
			}
		}
		mount := strings.TrimSuffix(h.Path, "/")
		if rest, ok := strings.CutPrefix(path, mount); !ok || rest != "" && rest[0] != '/' && rest[0] != '?' {
			continue
		}
		if found == nil || len(h.Path) > len(found.Path) {
			found = h
		}
	}
	if found == nil {
		return nil, "", fmt.Errorf("no hub serves %s: %w", path, fs.ErrNotExist)
	}
	if below = strings.TrimPrefix(path, strings.TrimSuffix(found.Path, "/")); !strings.HasPrefix(below, "/") {
		below = "/" + below
	}
	return found, below, nil
}
