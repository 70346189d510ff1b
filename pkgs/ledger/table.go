package ledger

// A table finds records by the first 32 bits of their hash: open addressing,
// linear probing. A slot is tag and place; where a tag belongs follows from
// the tag, so that the table grows without a look at the file. Two
// hashes may have one tag: who looks compares the records.
type table struct {
	slots []uint64 // a power of two; tag<<32 | place, 0 is free
	bits  int
	limit int // of bits
	n     int
}

const minBits = 8

// newTable makes a table that has room for n records and grows for as many as max.
func newTable(n, max int) *table {
	bits := bitsFor(n)
	return &table{slots: make([]uint64, 1<<bits), bits: bits, limit: bitsFor(max)}
}

func bitsFor(n int) int {
	bits := minBits
	for loadOf(bits) < n {
		bits++
	}
	return bits
}

// loadOf is how full a table gets: at 7/8 an unsuccessful search passes some 30
// slots, which are four cache lines.
func loadOf(bits int) int { return 1 << bits / 8 * 7 }

func (t *table) home(tag uint32) int { return int(tag >> (32 - t.bits)) }

// next is the first place of a tag at or behind the slot at; it returns the
// slot to go on from. A negative at is the beginning. ok is false at the end.
func (t *table) next(tag uint32, at int) (place uint32, after int, ok bool) {
	if at < 0 {
		at = t.home(tag)
	}
	for mask := len(t.slots) - 1; ; {
		s := t.slots[at]
		if s == 0 {
			return 0, 0, false
		}
		at = (at + 1) & mask
		if uint32(s>>32) == tag {
			return uint32(s), at, true
		}
	}
}

// insert adds a place. A full table drops it.
func (t *table) insert(tag, place uint32) {
	if t.n >= loadOf(t.bits) {
		if t.bits == t.limit {
			return
		}
		t.grow()
	}
	mask := len(t.slots) - 1
	i := t.home(tag)
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = uint64(tag)<<32 | uint64(place)
	t.n++
}

func (t *table) grow() {
	old := t.slots
	t.bits++
	t.slots, t.n = make([]uint64, 1<<t.bits), 0
	for _, s := range old {
		if s != 0 {
			t.insert(uint32(s>>32), uint32(s))
		}
	}
}

// remove takes a place away, if it is there.
func (t *table) remove(tag, place uint32) {
	mask := len(t.slots) - 1
	i := t.home(tag)
	for want := uint64(tag)<<32 | uint64(place); t.slots[i] != want; i = (i + 1) & mask {
		if t.slots[i] == 0 {
			return
		}
	}
	t.free(i)
}

// free empties slot i and closes the gap, so that no search ends in it.
func (t *table) free(i int) {
	mask := len(t.slots) - 1
	for j := i; ; {
		j = (j + 1) & mask
		s := t.slots[j]
		if s == 0 {
			break
		}
		// What belongs behind the gap stays.
		if (j-t.home(uint32(s>>32)))&mask >= (j-i)&mask {
			t.slots[i] = s
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
}

// sweep takes away all places from first up to, not including, end.
func (t *table) sweep(first, end uint32) {
	for i := 0; i < len(t.slots); {
		s := t.slots[i]
		if s != 0 && uint32(s) >= first && uint32(s) < end {
			t.free(i) // something may have moved here
			continue
		}
		i++
	}
}
