package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// errWrong says that content is not what its digest promised.
var errWrong = errors.New("wrong content")

// wrongTime is how long a mirror is avoided for a key that it sent wrong content under.
const wrongTime = 10 * time.Minute

// A proof takes the digest of content as it comes, and compares it with the one
// that was promised, if one was.
type proof struct {
	promise exchange.Digest
	content hash.Hash // SHA-256, which every entry has
	wanted  hash.Hash // of the promise's algorithm, maybe the same as content; nil: nothing was promised
}

func (c *Cache) newProof(promise exchange.Digest) *proof {
	p := &proof{promise: promise, content: sha256.New(), wanted: promise.New()}
	if promise.Algorithm() == "sha256" {
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

// digest is the content's SHA-256.
func (p *proof) digest() exchange.Digest { return exchange.NewDigest("sha256", p.content.Sum(nil)) }

// proved is the promise that was kept, where that is another one than digest.
func (p *proof) proved() exchange.Digest {
	if p.wanted == nil || p.wanted == p.content {
		return ""
	}
	return p.promise
}

// quarantine avoids a mirror for a key from now on, for a while, and reports
// whether it was not avoided before.
func (c *Cache) quarantine(key exchange.Key, mirror string) bool {
	all, _, _ := c.wrong.get(key, c.now())
	if slices.Contains(all, mirror) {
		return false
	}
	c.wrong.put(key, append(slices.Clip(all), mirror), c.now().Add(wrongTime))
	return true
}

// again fetches content behind the clients, after a mirror has sent it wrong.
// There are as many tries as there are mirrors that do.
func (c *Cache) again(next exchange.Source, ask *exchange.Request) {
	if _, r, leader := c.join(context.Background(), next, ask, nil); leader {
		r.leave()
	}
}
