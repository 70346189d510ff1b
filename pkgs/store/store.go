// Package store is the contract of content at rest: what the cache asks of a
// disk, an object store or memory. Package storetest has the suite that every
// implementation passes.
//
// A Store keeps entries and their content under keys. New content comes as a
// [Draft], which nobody finds until it is committed, while its readers may
// follow it as it grows. A store knows nothing of freshness, flights or
// protocols; it never changes content that was committed.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"syscall"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// ErrFull says that a draft found no room, even after eviction. The transfer
// goes on without being stored.
var ErrFull = errors.New("the store is full")

// A Store keeps entries and their content, for many goroutines at once. A
// missing entry is [fs.ErrNotExist]; so is one that was found damaged, which
// the store then puts aside.
type Store interface {
	// Open finds a committed entry and its content, which the caller closes and
	// which stays readable though the entry be replaced, evicted or deleted. If
	// the content is one plain file, it is a [Plain].
	Open(ctx context.Context, key exchange.Key) (*exchange.Entry, io.ReadSeekCloser, error)

	// Draft begins new content. size is reserved, or -1 if it is unknown; then
	// room is taken as it is written. No room is [ErrFull].
	Draft(ctx context.Context, size int64) (Draft, error)

	// Update replaces the entry, not the content. It is [fs.ErrNotExist] if the
	// key has none, or if the content under it is not that of e (by Digest) any more.
	Update(ctx context.Context, e *exchange.Entry) error

	// Delete removes an entry; of nothing is no error.
	Delete(ctx context.Context, key exchange.Key) error

	// Entries walks the entries of a hub whose path begins with prefix, in no
	// order; "" is every hub. Entries that come or go meanwhile may be missed.
	Entries(ctx context.Context, hub, prefix string) iter.Seq2[*exchange.Entry, error]
}

// A Draft is content written by one goroutine and read by many: invisible to
// Open until Commit, readable until Close.
type Draft interface {
	io.WriterAt // parts may arrive out of order; after an error nothing more is written
	io.ReaderAt

	// Commit publishes the content under e.Key, replacing what was there. e.Size
	// is what was written. The draft stays readable.
	Commit(ctx context.Context, e *exchange.Entry) error

	// Close discards what was not committed.
	Close() error
}

// A Plain is content that is one plain file: it reaches sendfile, and a web
// server beside us may send it (X-Accel-Redirect).
type Plain interface {
	io.ReadSeekCloser
	io.ReaderAt
	syscall.Conn
	Path() string // slash-separated, relative to the store's root, not URL-escaped
}

// A Reopener is a Draft that is one plain file while it grows, unless it is small.
type Reopener interface {
	// Reopen opens the file anew, for a reader with a position of its own. An
	// error says that there is none at present; ReadAt reads all the same.
	Reopen() (*os.File, error)
}

// A Resumer is a Store that keeps what interrupted transfers have brought, over
// a restart too: bounded in number, bytes and age, and before any entry goes to
// make room. Content that is committed under a key, or deleted, takes the part
// that is kept for it along.
type Resumer interface {
	// Resume hands out what is kept under key, to one caller: a draft that has
	// part.Have, and the note. Unless Keep says otherwise the draft is kept again.
	// Nothing is [fs.ErrNotExist]; after any other error nothing is kept any more.
	Resume(ctx context.Context, key exchange.Key) (d Keeper, part *exchange.Part, note []byte, err error)
}

// A Pinner is a Store with entries that do not make room for others. A pin is of
// the key: it stays when the content is replaced, over a restart too, and goes
// when the entry is deleted.
type Pinner interface {
	// Pin pins an entry, or gives it free. It is [fs.ErrNotExist] if there is none
	// to be pinned, and [ErrFull] if there are too many pins.
	Pin(ctx context.Context, key exchange.Key, pinned bool) error
	Pinned(key exchange.Key) bool
	Pins() []exchange.Key // by hub, path and variant
}

// A Keeper is a Draft that may outlive its Close, and a crash.
type Keeper interface {
	Draft

	// Keep makes part, under its entry's key, and the note what Resume finds once
	// the draft is closed uncommitted: part.Have is written, and does not change
	// any more. After a crash that holds from the moment on when part.Have has
	// reached the disk, for which Keep does not wait; until then it is what an
	// earlier Keep said. nil: nothing is kept. A draft that has failed keeps nothing.
	Keep(part *exchange.Part, note []byte)
}
