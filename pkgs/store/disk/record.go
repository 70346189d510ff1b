package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A part file is a temporary file that outlives its transfer. What it has, its
// record says: a file beside it, under its name and partSuffix. A record is
// written after what it speaks of has been synced, and whole or not at all, so
// that after any stop what it says is true, though maybe not the newest.
const (
	partSuffix = ".part"
	maxRecord  = 1 << 20 // bytes; header fields are limited far below
)

var errRecord = errors.New("unreadable record")

// kept is what a record says.
type kept struct {
	part *exchange.Part
	note []byte
	at   time.Time
}

// end is where the file ends.
func (k *kept) end() int64 { return k.part.Have[len(k.part.Have)-1].To }

// recorded is the JSON of a record.
type recorded struct {
	File  string          `json:"file"` // the part file's name; a record that was moved to another one is none
	At    time.Time       `json:"at"`
	Have  []exchange.Span `json:"have"`
	Note  []byte          `json:"note,omitempty"`
	Entry json.RawMessage `json:"entry"`
}

func (k *kept) encode(file string) ([]byte, error) {
	entry, err := marshalEntry(k.part.Entry)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(recorded{file, k.at, k.part.Have, k.note, entry})
	if err != nil {
		return nil, err
	}
	return seal(b), nil
}

// decodeRecord is what the record b of a part file says.
func decodeRecord(b []byte, file string) (*kept, error) {
	text, ok := unseal(b)
	if !ok {
		return nil, errRecord
	}
	var r recorded
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	e, err := unmarshalEntry(r.Entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	k := &kept{&exchange.Part{Entry: e, Have: r.Have}, r.Note, r.At}
	if r.File != file || e.Key.Path == "" || len(r.Have) == 0 || !k.part.Valid() {
		return nil, fmt.Errorf("%w: of no part of %s", errRecord, file)
	}
	return k, nil
}

// seal puts a checksum before a line of text, so that half a file or a flipped
// bit is noticed.
func seal(b []byte) []byte { return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(b), b) }

// unseal is the text of a sealed line.
func unseal(b []byte) (text []byte, ok bool) {
	sum, text, _ := bytes.Cut(bytes.TrimSuffix(b, []byte("\n")), []byte(" "))
	return text, string(sum) == fmt.Sprintf("%08x", crc32.ChecksumIEEE(text))
}

// A partRecord keeps a part file. It passes from the draft whose transfer was
// interrupted to the one that goes on.
type partRecord struct {
	store *Store
	name  string // of the part file, relative to the root

	charge int64 // while it is in the table of parts; owned by that

	mu     sync.Mutex
	kept   *kept // guarded by mu; what it is to say; nil: nothing is kept
	tried  *kept // guarded by mu; what was brought to the disk last, or could not be
	onDisk bool  // guarded by mu; there is a file
	saving bool  // guarded by mu; save runs
	err    error // guarded by mu; the part file could not be synced, and is dead
}

// keep makes k what the record says, on disk soon.
func (r *partRecord) keep(k *kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	r.kept = k
	if !r.saving {
		r.saving = true
		r.store.background.Go(r.save)
	}
}

// drop makes it say nothing.
func (r *partRecord) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked()
}

func (r *partRecord) dropLocked() {
	r.kept = nil
	if r.onDisk {
		r.store.discard(r.name + partSuffix)
		r.onDisk = false
	}
}

// state is what it says, and why the part file is dead if it is.
func (r *partRecord) state() (*kept, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept, r.err
}

// save brings the record to the disk until that has the newest. One runs at a time.
func (r *partRecord) save() {
	for {
		r.mu.Lock()
		k := r.kept
		if k == nil || k == r.tried {
			r.saving = false
			r.mu.Unlock()
			return
		}
		r.tried = k
		r.mu.Unlock()
		if err := r.write(k); err != nil {
			r.store.log.Debug("part not recorded", "hub", k.part.Entry.Key.Hub, "key", k.part.Entry.Key.String(), "err", err)
		}
	}
}

// write syncs what k speaks of, then writes k.
func (r *partRecord) write(k *kept) error {
	if err := r.sync(); err != nil {
		return err
	}
	b, err := k.encode(strings.TrimPrefix(r.name, tempDir+"/"))
	if err != nil {
		return err
	}
	temp, file, err := r.store.createTemp()
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.kept != nil { // not dropped meanwhile
		if err = r.store.root.Rename(temp, r.name+partSuffix); err == nil {
			r.onDisk = true
			return nil
		}
	}
	r.store.discard(temp)
	return err
}

// sync syncs the part file. One whose sync failed is dead: a second one would
// succeed and prove nothing.
func (r *partRecord) sync() error {
	file, err := r.store.openFile(r.name)
	if err != nil {
		return err // published, or removed by somebody
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		r.fail(err)
		return err
	}
	return nil
}

// fail makes the part file a dead one. If no transfer has it, it goes at once.
func (r *partRecord) fail(err error) {
	r.mu.Lock()
	r.err = err
	r.dropLocked()
	r.mu.Unlock()
	r.store.discardPart(r.store.parts.withdraw(r))
}
