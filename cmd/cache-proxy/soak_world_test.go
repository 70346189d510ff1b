//go:build soak

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// A class says what may be known of an object's content, so what is a fault of
// the proxy and what it could not have known.
type class string

const (
	plain   class = "plain"   // never changes; nothing vouches for it
	mutable class = "mutable" // has versions of one length; nothing vouches for them
	web     class = "web"     // the same through the hub http
	named   class = "named"   // its path has its digest
	listed  class = "listed"  // an index that clients fetch has its digest
	index   class = "index"   // a member of a signed set, by its name
	root    class = "root"    // of a signed set
)

// An object is one path and all it ever was. Its versions are of one length, the
// packed index's excepted, so that a length proves nothing.
type object struct {
	class   class
	path    string // of the proxy
	size    int    // of version 0
	etag    bool   // it has an entity tag; all have Last-Modified
	chunked bool   // its content comes without a length

	seed uint64
	make func(version int) []byte // nil: random bytes

	mu      sync.Mutex
	content map[int][]byte  // guarded by mu; by version
	lied    map[string]bool // guarded by mu; what some mirror has sent that it is not: "lie", "portal"
}

// bytes is what version v is. Nobody changes it.
func (o *object) bytes(v int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.content[v]
	if b == nil {
		if o.make != nil {
			b = o.make(v)
		} else {
			var key [32]byte
			binary.LittleEndian.PutUint64(key[:], o.seed)
			binary.LittleEndian.PutUint64(key[8:], uint64(v))
			b = make([]byte, o.size)
			rand.NewChaCha8(key).Read(b)
		}
		o.content[v] = b
	}
	return b
}

// lieAt is where the bit lies that a mirror gets wrong in o. It is one place an
// object, so that content that is spliced from lies and truth is one of the two:
// what nobody can know is not held against the proxy, and everything else is.
func (o *object) lieAt() int {
	if o.class == root { // in its signature, which the proxy cannot check
		return o.size - 5
	}
	return int(o.seed % uint64(o.size))
}

func (o *object) lie(v int) []byte {
	b := bytes.Clone(o.bytes(v))
	b[o.lieAt()] ^= 1
	return b
}

// note remembers that some mirror is sending what it should not.
func (o *object) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lied[what] = true
}

func (o *object) noted(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lied[what]
}

// portal is the page of somebody who wants a login, whatever was asked.
var portal = []byte("<!DOCTYPE html><title>Welcome</title><p>Please accept our terms." + strings.Repeat(" ", 200))

// Packages of the signed set, each of which changes every third generation.
const setPackages = 24

// A world is all objects and what is published of them. The version of what
// changes is the number of a generation.
type world struct {
	objects []*object // without the packages of the set, which clients find in its index
	byPath  map[string]*object
	epoch   time.Time // of generation 0
	seed    uint64
	sizes   [setPackages]int

	mu         sync.Mutex
	packages   map[string]*object // guarded by mu
	generation int                // guarded by mu; the newest
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{byPath: map[string]*object{}, packages: map[string]*object{}, seed: r.Uint64(),
		epoch: time.Now().Add(-24 * time.Hour).Truncate(time.Second)}
	size := func(n int) int {
		switch {
		case n%40 == 7:
			return 4<<20 + r.IntN(4<<20) // in stripes
		case n%12 == 5:
			return 256<<10 + r.IntN(1<<20)
		}
		return 1 + r.IntN(60<<10)
	}
	for n := range 120 {
		w.add(plain, fmt.Sprintf("/imm/%d/%d.deb", n%9, n), size(n), r)
	}
	for n := range 60 {
		w.add(mutable, fmt.Sprintf("/mut/%d.bin", n), min(size(n), 1<<20), r)
	}
	for n := range 30 {
		w.add(web, fmt.Sprintf("/web/%d", n), min(size(n), 1<<20), r)
	}
	for n := range 30 {
		o := w.add(named, "", size(n), r)
		o.path = fmt.Sprintf("/debian/dists/stable/extra/by-hash/SHA256/%x", sha256.Sum256(o.bytes(0)))
		w.byPath[o.path] = o
	}
	for i := range w.sizes {
		w.sizes[i] = 1 + r.IntN(100<<10)
		if i%8 == 0 {
			w.sizes[i] += 3 << 20
		}
	}
	w.set(r)
	return w
}

func (w *world) add(c class, path string, size int, r *rand.Rand) *object {
	o := &object{class: c, path: path, size: size, etag: r.IntN(3) > 0, chunked: r.IntN(4) == 0, seed: r.Uint64(),
		content: map[int][]byte{}, lied: map[string]bool{}}
	w.objects = append(w.objects, o)
	if path != "" {
		w.byPath[path] = o
	}
	return o
}

// The paths of the signed set.
const (
	suitePath   = "/debian/dists/stable/"
	rootPath    = suitePath + "InRelease"
	membersPath = suitePath + "main/binary-amd64/Packages"
)

// set adds the signed set.
func (w *world) set(r *rand.Rand) {
	text := func(g int) []byte {
		var b bytes.Buffer
		for i := range setPackages {
			p := w.listed(i, g)
			fmt.Fprintf(&b, "Package: p%02d\nVersion: %08d\nFilename: %s\nSize: %d\nSHA256: %x\n\n", i, (g+i)/3,
				strings.TrimPrefix(p.path, "/debian/"), p.size, sha256.Sum256(p.bytes(0)))
		}
		return b.Bytes()
	}
	packed := func(g int) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(text(g))
		z.Close()
		return b.Bytes()
	}
	made := func(c class, path string, f func(g int) []byte) *object {
		o := w.add(c, path, len(f(0)), r)
		o.make = f
		return o
	}
	members := []*object{made(index, membersPath, text), made(index, membersPath+".gz", packed)}
	made(root, rootPath, func(g int) []byte {
		var list strings.Builder
		for _, m := range members {
			b := m.bytes(g)
			fmt.Fprintf(&list, " %x %8d %s\n", sha256.Sum256(b), len(b), strings.TrimPrefix(m.path, suitePath))
		}
		return fmt.Appendf(nil, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: stable\nDate: %s\nSHA256:\n%s"+
			"-----BEGIN PGP SIGNATURE-----\n\ngeneration %08d\n-----END PGP SIGNATURE-----\n",
			w.modified(g).UTC().Format(time.RFC1123), list.String(), g)
	})
}

// listed is package i of a generation.
func (w *world) listed(i, g int) *object {
	version := (g + i) / 3
	path := fmt.Sprintf("/debian/pool/p%02d_%08d_all.deb", i, version)
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.packages[path]
	if o == nil {
		o = &object{class: listed, path: path, size: w.sizes[i], etag: i%2 == 0, seed: w.seed + uint64(i)<<32 + uint64(version),
			content: map[int][]byte{}, lied: map[string]bool{}}
		w.packages[path] = o
	}
	return o
}

// find is what has a path; nil if nothing does.
func (w *world) find(path string) *object {
	if o := w.byPath[path]; o != nil {
		return o
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packages[path]
}

// modified is when a generation was published, as its files say.
func (w *world) modified(g int) time.Time { return w.epoch.Add(time.Duration(g) * time.Minute) }

// publish makes the next generation.
func (w *world) publish() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.generation++
	return w.generation
}

func (w *world) newest() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generation
}

// versions are how many there are of o.
func (w *world) versions(o *object) int {
	switch o.class {
	case plain, named, listed:
		return 1
	}
	return w.newest() + 1
}

// match says what b is of o, as it lies from off on: "v3", "v3 lie", "portal";
// "" if it is nothing that anybody has sent. whole: nothing follows b.
func (w *world) match(o *object, b []byte, off int, whole bool) string {
	is := func(c []byte) bool {
		return off+len(b) <= len(c) && bytes.Equal(c[off:off+len(b)], b) && (!whole || off+len(b) == len(c))
	}
	for v := w.versions(o) - 1; v >= 0; v-- {
		c := o.bytes(v)
		if is(c) {
			return fmt.Sprintf("v%d", v)
		}
		if o.noted("lie") && off+len(b) > o.lieAt() && is(o.lie(v)) {
			return fmt.Sprintf("v%d lie", v)
		}
	}
	if o.noted("portal") && is(portal) {
		return "portal"
	}
	return ""
}
