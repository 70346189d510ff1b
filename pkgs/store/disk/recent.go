package disk

import (
	"hash/crc32"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	recentEntries = 1024
	recentMeta    = 1 << 10 // bytes of metadata that are remembered; few entries have more
)

// recent are entries that were decoded of late, by their metadata, at most a few
// MiB: to decode one takes longer than to open a small file. What the disk has
// decides, as ever: an entry is found here by all the bytes that the file has for
// it, so there is nothing to withdraw. The zero value is ready.
type recent struct {
	slots [recentEntries]atomic.Pointer[decoded]
}

type decoded struct {
	meta  string
	entry *exchange.Entry
}

// decode is decodeEntry.
func (r *recent) decode(b []byte, size int64) (*exchange.Entry, error) {
	if len(b) > recentMeta {
		return decodeEntry(b, size)
	}
	slot := &r.slots[crc32.ChecksumIEEE(b)%recentEntries]
	if d := slot.Load(); d != nil && d.meta == string(b) && d.entry.Size == size {
		return d.entry, nil
	}
	e, err := decodeEntry(b, size)
	if err == nil {
		slot.Store(&decoded{string(b), e})
	}
	return e, err
}
