package disk

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var _ store.Resumer = (*Store)(nil)

// What is kept of interrupted transfers, at most. Parts count as used room, and
// go before any entry does.
const (
	maxParts     = 100
	maxPartBytes = 16 << 30       // or a quarter of the store's own limit
	maxPartAge   = 24 * time.Hour // since they were written to
)

// parts are the part files that no transfer writes to, by key.
type parts struct {
	mu    sync.Mutex
	all   map[exchange.Key]*partRecord // guarded by mu
	bytes int64                        // guarded by mu; the records' charges
}

// put adds a part, and takes out what is too much then: the one before under
// its key, those too old, and the oldest while there are too many.
func (x *parts) put(key exchange.Key, r *partRecord, limit int64, now time.Time) (out []*partRecord) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.all[key]; old != nil {
		out = append(out, x.remove(key, old))
	}
	x.all[key] = r
	x.bytes += r.charge
	out = append(out, x.agedLocked(now)...)
	for len(x.all) > maxParts || x.bytes > limit {
		out = append(out, x.remove(x.oldest()))
	}
	return out
}

// take takes out the part of a key; nil if there is none.
func (x *parts) take(key exchange.Key) *partRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.all[key]
	if r == nil {
		return nil
	}
	return x.remove(key, r)
}

// withdraw takes out r; nil if it is not there.
func (x *parts) withdraw(r *partRecord) *partRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, other := range x.all {
		if other == r {
			return x.remove(key, r)
		}
	}
	return nil
}

// takeOldest takes out the oldest part; nil if there is none.
func (x *parts) takeOldest() *partRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.all) == 0 {
		return nil
	}
	return x.remove(x.oldest())
}

// aged takes out those that are too old.
func (x *parts) aged(now time.Time) []*partRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.agedLocked(now)
}

func (x *parts) agedLocked(now time.Time) (out []*partRecord) {
	for key, r := range x.all {
		if k, _ := r.state(); k == nil || now.Sub(k.at) > maxPartAge {
			out = append(out, x.remove(key, r))
		}
	}
	return out
}

// remove is used with mu held, like oldest.
func (x *parts) remove(key exchange.Key, r *partRecord) *partRecord {
	delete(x.all, key)
	x.bytes -= r.charge
	return r
}

func (x *parts) oldest() (key exchange.Key, oldest *partRecord) {
	var at time.Time
	for k, r := range x.all {
		said, _ := r.state()
		switch {
		case said == nil: // its sync has failed
			return k, r
		case oldest == nil || said.at.Before(at):
			key, oldest, at = k, r, said.at
		}
	}
	return key, oldest
}

func (x *parts) stats() (n, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return int64(len(x.all)), x.bytes
}

// partLimit is how many bytes of parts there may be.
func (s *Store) partLimit() int64 {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	if s.space.maxBytes > 0 {
		return min(maxPartBytes, s.space.maxBytes/4)
	}
	return maxPartBytes
}

// keepPart keeps the file of a draft that is being closed, and for which room
// bytes are reserved; false if that is not wanted, or cannot be.
func (s *Store) keepPart(r *partRecord, file *os.File, room int64) bool {
	k, err := r.state()
	if k == nil || err != nil {
		return false
	}
	if err := file.Truncate(k.end()); err != nil { // what was allocated, too
		return false
	}
	st, err := statFile(file)
	if err != nil {
		return false
	}
	r.charge = st.blocks + metaRoom
	s.space.settle(room+metaRoom, r.charge)
	s.putPart(k, r)
	return true
}

func (s *Store) putPart(k *kept, r *partRecord) {
	for _, out := range s.parts.put(k.part.Entry.Key, r, s.partLimit(), s.now()) {
		s.discardPart(out)
	}
}

// discardPart removes a part that was taken out.
func (s *Store) discardPart(r *partRecord) {
	if r == nil {
		return
	}
	r.drop()
	s.discard(r.name)
	s.space.add(-r.charge)
	s.evictor.progress(0)
}

// dropParts removes parts, the oldest first, while there is not room for the wishes
// and some to spare.
func (s *Store) dropParts() (dropped int) {
	for s.lack(lowWater) > 0 {
		r := s.parts.takeOldest()
		if r == nil {
			break
		}
		s.discardPart(r)
		dropped++
	}
	return dropped
}

// ageParts removes the parts that are too old.
func (s *Store) ageParts() {
	for _, r := range s.parts.aged(s.now()) {
		s.discardPart(r)
	}
}

// Resume implements [store.Resumer].
func (s *Store) Resume(ctx context.Context, key exchange.Key) (store.Keeper, *exchange.Part, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	r := s.parts.take(key)
	if r == nil {
		return nil, nil, nil, &keyError{"resume", key, fs.ErrNotExist}
	}
	k, err := r.state()
	if err == nil && s.now().Sub(k.at) > maxPartAge {
		err = fs.ErrNotExist
	}
	var d *draft
	if err == nil {
		d, err = s.resume(r, k)
	}
	if err != nil {
		s.discardPart(r)
		return nil, nil, nil, fmt.Errorf("resume %v: %w", key, err)
	}
	return d, k.part, k.note, nil
}

// resume opens a part file, and reserves room for the rest.
func (s *Store) resume(r *partRecord, k *kept) (*draft, error) {
	file, err := s.openPart(r.name, k)
	if err != nil {
		return nil, err
	}
	size := k.part.Entry.Size
	room := pages(size)
	if err := s.reserve(max(room+metaRoom-r.charge, 0)); err != nil {
		file.Close()
		return nil, err
	}
	if size >= preallocAt {
		if err := allocate(file, size); err != nil {
			s.space.release(max(room+metaRoom-r.charge, 0))
			file.Close()
			return nil, err
		}
	}
	// All of it is the draft's from now on; nothing fails any more.
	s.space.settle(max(room+metaRoom-r.charge, 0)-(room+metaRoom), -r.charge)
	d := &draft{store: s, file: file, name: r.name, record: r}
	d.room.Store(room)
	d.end.Store(k.end())
	return d, nil
}

// openPart opens a part file for writing, if it is one and has what k says.
func (s *Store) openPart(name string, k *kept) (*os.File, error) {
	file, err := s.root.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := statFile(file)
	if err == nil {
		if at, lerr := s.lstat(name); lerr != nil || !st.regular || !at.same(st) || st.size < k.end() {
			err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// recoverParts keeps what the last run has left with a record: the names of
// what is to stay.
func (s *Store) recoverParts(entries []fs.DirEntry) map[string]bool {
	stays := map[string]bool{}
	for _, entry := range entries {
		file, ok := strings.CutSuffix(entry.Name(), partSuffix)
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		k, r, err := s.recoverPart(file)
		if err != nil {
			s.log.Debug("part not kept", "file", entry.Name(), "err", err)
			continue
		}
		stays[file], stays[entry.Name()] = true, true
		s.space.add(r.charge)
		s.putPart(k, r)
	}
	return stays
}

func (s *Store) recoverPart(base string) (*kept, *partRecord, error) {
	r := &partRecord{store: s, name: tempDir + "/" + base, onDisk: true}
	sidecar, err := s.openFile(r.name + partSuffix)
	if err != nil {
		return nil, nil, err
	}
	defer sidecar.Close()
	b, err := io.ReadAll(io.LimitReader(sidecar, maxRecord))
	if err != nil {
		return nil, nil, err
	}
	k, err := decodeRecord(b, base)
	if err != nil {
		return nil, nil, err
	}
	file, err := s.openPart(r.name, k)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	if err := file.Truncate(k.end()); err != nil { // what came later may not all have reached the disk
		return nil, nil, err
	}
	st, err := statFile(file)
	if err != nil {
		return nil, nil, err
	}
	r.kept, r.tried, r.charge = k, k, st.blocks+metaRoom
	return k, r, nil
}
