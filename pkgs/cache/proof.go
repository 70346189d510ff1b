package cache

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// errWrong says that content is not what its digest promised.
var errWrong = errors.New("wrong content")

// wrongTime is how long a mirror is avoided, or doubted, for a key that wrong content came under.
const wrongTime = 10 * time.Minute

// A proof takes the digest of content as it comes, and compares it with the one
// that was promised, if one was.
type proof struct {
	promise exchange.Digest
	own     string    // the algorithm of content
	content hash.Hash // of the digest that the entry has
	wanted  hash.Hash // of the promise's algorithm, maybe the same as content; nil: nothing was promised
}

// newProof is that of content of size bytes, -1 if unknown.
func (c *Cache) newProof(promise exchange.Digest, size int64) *proof {
	p := &proof{promise: promise, own: exchange.OwnAlgorithm(size), wanted: promise.New()}
	if promise.Algorithm() == "sha256" {
		p.own = "sha256"
	}
	p.content = exchange.Digest(p.own + ":").New()
	if promise.Algorithm() == p.own {
		p.wanted = p.content
	} else if own := c.hashes[promise.Algorithm()]; own != nil {
		p.wanted = own()
	}
	return p
}

// hold is how many bytes readers must be kept behind until the proof.
func (p *proof) hold() int64 {
	if p.wanted == nil {
		return 0
	}
	return smallChunk
}

func (p *proof) Write(b []byte) {
	p.content.Write(b)
	if p.wanted != nil && p.wanted != p.content {
		p.wanted.Write(b)
	}
}

// check is an errWrong if what was written is not what was promised.
func (p *proof) check() error {
	if p.wanted == nil {
		return nil
	}
	if got := exchange.NewDigest(p.promise.Algorithm(), p.wanted.Sum(nil)); got != p.promise {
		return fmt.Errorf("%w: %s where %s was promised", errWrong, got, p.promise)
	}
	return nil
}

// digest is the content's own.
func (p *proof) digest() exchange.Digest { return exchange.NewDigest(p.own, p.content.Sum(nil)) }

// proved is the promise that was kept, where that is another one than digest.
func (p *proof) proved() exchange.Digest {
	if p.wanted == nil || p.wanted == p.content {
		return ""
	}
	return p.promise
}

// states are the hashes as they are after n bytes; none if they cannot be had.
func (p *proof) states(n int64) (hashed int64, states map[string][]byte) {
	states = map[string][]byte{}
	for algorithm, h := range p.hashes() {
		m, ok := h.(encoding.BinaryMarshaler)
		if !ok {
			return 0, nil
		}
		b, err := m.MarshalBinary()
		if err != nil {
			return 0, nil
		}
		states[algorithm] = b
	}
	return n, states
}

// restore puts the hashes back to the states of a note, and returns how many
// bytes they cover: 0 if one of them is not in it. have is what there is.
func (p *proof) restore(n note, have int64) int64 {
	if n.Hashed <= 0 || n.Hashed > have {
		return 0
	}
	hashes := p.hashes()
	for algorithm, h := range hashes {
		m, ok := h.(encoding.BinaryUnmarshaler)
		if !ok || m.UnmarshalBinary(n.Hashes[algorithm]) != nil {
			for _, h := range hashes {
				h.Reset()
			}
			return 0
		}
	}
	return n.Hashed
}

func (p *proof) hashes() map[string]hash.Hash {
	all := map[string]hash.Hash{p.own: p.content}
	if p.wanted != nil && p.wanted != p.content {
		all[p.promise.Algorithm()] = p.wanted
	}
	return all
}

// proven is resp, whose content takes no part in a flight. If what it should be is
// known, its last bytes come when it is proved, or else an error does.
func (c *Cache) proven(ctx context.Context, req *exchange.Request, resp *exchange.Response) *exchange.Response {
	if req.Head || resp.Entry.Status != http.StatusOK {
		return resp
	}
	p := c.newProof(c.fact(ctx, req).Digest, resp.Entry.Size)
	if p.wanted == nil {
		return resp
	}
	body := resp.Body
	resp.Ranges = nil
	resp.Body = &proving{Closer: body, body: body, proof: p, held: make([]byte, 0, 2*smallChunk), wrong: func(err error) error {
		c.counts.wrong.Add(1)
		c.quarantine(req.Key, []exchange.Share{{Mirror: resp.Entry.Mirror}}, false)
		return fmt.Errorf("%v from %s: %w", req.Key, resp.Entry.Mirror, err)
	}}
	return resp
}

// proving is content of which the last bytes are held back for the proof.
type proving struct {
	io.Closer
	body  io.Reader
	proof *proof
	wrong func(error) error // is told of wrong content, and makes the error of it
	held  []byte            // at most smallChunk more than free
	free  int               // how much of held may be read
	err   error             // behind held
}

// Read implements [io.Reader].
func (v *proving) Read(p []byte) (int, error) {
	for v.free == 0 {
		if v.err != nil {
			return 0, v.err
		}
		had := len(v.held)
		n, err := v.body.Read(v.held[had:cap(v.held)])
		v.held = v.held[:had+n]
		v.proof.Write(v.held[had:])
		v.free = max(0, len(v.held)-smallChunk)
		if err == io.EOF {
			if e := v.proof.check(); e != nil {
				err = v.wrong(e)
			} else {
				v.free = len(v.held)
			}
		}
		v.err = err
	}
	n := copy(p, v.held[:v.free])
	v.held = append(v.held[:0], v.held[n:]...)
	v.free -= n
	return n, nil
}

// A blame is what is known of the mirrors that had to do with wrong content
// under a key. Immutable.
type blame struct {
	wrong   []string // have sent it
	doubted []string // one of them has, or more
}

// quarantine remembers for a while that content under a key came wrong from
// some mirrors, and reports whether that says anything new of one of them. One
// that brought all of it is avoided; of several each is doubted, until it is
// asked alone. local says that some of the content lay on our own disk for a
// while, which may have been what damaged it.
func (c *Cache) quarantine(key exchange.Key, shares []exchange.Share, local bool) (fresh bool) {
	old, _, _ := c.wrong.get(key, c.now())
	now := blame{slices.Clone(old.wrong), slices.Clone(old.doubted)}
	for _, s := range shares {
		known := slices.Contains(now.wrong, s.Mirror)
		if len(shares) == 1 && !local {
			now.doubted = slices.DeleteFunc(now.doubted, func(m string) bool { return m == s.Mirror })
			if !known {
				now.wrong, fresh = append(now.wrong, s.Mirror), true
			}
		} else if !known && !slices.Contains(now.doubted, s.Mirror) {
			now.doubted, fresh = append(now.doubted, s.Mirror), true
		}
	}
	c.wrong.put(key, now, c.now().Add(wrongTime))
	return fresh
}

// again fetches content behind the clients, after it came wrong. There are as
// many tries as there is something new to say of a mirror.
func (c *Cache) again(next exchange.Source, ask *exchange.Request) {
	if _, r, leader := c.join(context.Background(), next, ask, nil, c.departures(ask.Key)); leader {
		r.leave()
	}
}
