package front

import (
	"hash/maphash"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Epochs say whether something has changed. Ready answers are withdrawn by epochs: numbers that move when what a key leads
// to changes. One is taken before the key is looked up ([Table.Begin]). What was
// found there is published with it, and is good for as long as the number is the
// same. So what is published too late, behind a change, was never good, and
// nothing has to be searched for to be withdrawn.
//
// Keys share numbers: a change of one may withdraw answers of others, which are
// then published anew. They are safe for concurrent use.
type Epochs struct {
	seed  maphash.Seed
	cells [4096]atomic.Uint64 // changes under way in the lower 16 bits, those that were above
}

// NewEpochs are those of one store.
func NewEpochs() *Epochs { return &Epochs{seed: maphash.MakeSeed()} }

func (e *Epochs) cell(key exchange.Key) *atomic.Uint64 {
	return &e.cells[maphash.Comparable(e.seed, key)%uint64(len(e.cells))]
}

const underWay = 1<<16 - 1

// A token is the epoch of a key before it was looked up.
type token struct {
	cell *atomic.Uint64
	at   uint64
}

// holds says whether nothing has changed since.
func (t token) holds() bool {
	return t.at&underWay == 0 && t.cell.Load() == t.at
}

// Changing withdraws what is ready under key, until done is called and for as long
// as nothing is published that was looked up after that. Who changes what a key
// leads to calls it before the change can be seen, and done behind it, whatever
// came of it: then nobody gets the old from here once somebody may have the new.
func (e *Epochs) Changing(key exchange.Key) (done func()) {
	c := e.cell(key)
	c.Add(1)
	return func() { c.Add(underWay) } // one less under way, one more that was
}
