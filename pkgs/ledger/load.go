package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
)

// openRing reads the file, or begins it anew if it is not one of this size.
func openRing(path string, entries int, log *slog.Logger) (*ring, error) {
	n := max(4, (entries*minRecord+segmentSize-1)/segmentSize)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	r := &ring{
		file:     file,
		log:      log,
		scratch:  make([]byte, segmentSize),
		segments: make([]uint64, n),
		pending:  make([]byte, 0, segmentSize),
	}
	r.buffers.New = func() any { return new([maxRecord]byte) }
	if err := r.begin(path); err != nil {
		file.Close()
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	full := n * (segmentSize/minRecord - 1)
	r.table = newTable(min(full, int(info.Size()/minRecord)), full)
	r.load()
	return r, nil
}

// begin checks the header, and writes it where there is none that fits.
func (r *ring) begin(path string) error {
	want := make([]byte, page)
	n := copy(want, magic)
	binary.LittleEndian.PutUint32(want[n:], uint32(len(r.segments)))
	binary.LittleEndian.PutUint32(want[n+4:], crc32.Checksum(want[:n+4], castagnoli))
	have := make([]byte, page)
	got, err := r.file.ReadAt(have, 0)
	if bytes.Equal(have, want) {
		return nil
	}
	if got > 0 || err != nil && err != io.EOF {
		r.log.Warn("ledger begun anew: the file is damaged, or of another version or size", "file", path)
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	if _, err := r.file.WriteAt(want, 0); err != nil {
		// It goes on in what memory it has: the ledger is a hint, and a full disk passes.
		r.log.Warn("ledger is not written", "err", err)
	}
	return nil
}

// load fills the table. The segments are read in the order in which they were
// written, so that the later of two records holds.
func (r *ring) load() {
	type found struct {
		number uint64
		place  int
	}
	var all []found
	for i := range r.segments {
		var b [minRecord]byte
		if n, _ := r.file.ReadAt(b[:], r.offset(i)); n < len(b) {
			continue
		}
		number, ok := segmentNumber(b[:])
		if ok && r.place(number) == i {
			all = append(all, found{number, i})
			r.head = max(r.head, number)
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	end := minRecord
	for _, s := range all {
		if r.head-s.number >= uint64(len(r.segments)) {
			continue // of another time
		}
		r.segments[s.place] = s.number
		end = minRecord
		r.scan(s.number, func(rec *record, at int) {
			r.add(rec, r.unit(s.place, at))
			end = at + rec.len()
		})
	}
	if r.head > 0 {
		// Behind the last good record: nothing there has the number of this segment.
		r.start = r.offset(r.place(r.head)) + int64(end)
	}
}

// add puts a record of the file into the table.
func (r *ring) add(rec *record, unit uint32) {
	if _, old, ok := r.find(rec.hash); ok {
		r.table.remove(rec.hash.tag(), old)
	}
	r.table.insert(rec.hash.tag(), unit)
}

func segmentHeader(number uint64) []byte {
	b := make([]byte, minRecord)
	n := copy(b, segmentMark)
	binary.LittleEndian.PutUint64(b[n:], number)
	binary.LittleEndian.PutUint32(b[n+8:], crc32.Checksum(b[:n+8], castagnoli))
	return b
}

func segmentNumber(b []byte) (uint64, bool) {
	number := binary.LittleEndian.Uint64(b[len(segmentMark):])
	return number, number > 0 && bytes.Equal(b, segmentHeader(number))
}
