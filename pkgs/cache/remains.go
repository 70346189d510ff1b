package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// remains are what an earlier flight has left of its content.
type remains struct {
	draft store.Keeper
	part  *exchange.Part
	note  note
}

// remains looks for what is left of the content that ask is for; nil if there is
// nothing that may be gone on with.
func (c *Cache) remains(ctx context.Context, ask *exchange.Request) *remains {
	resumer, ok := c.store.(store.Resumer)
	if !ok {
		return nil
	}
	draft, part, text, err := resumer.Resume(ctx, ask.Key)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Info("transfer begins anew", "hub", ask.Key.Hub, "key", ask.Key.Path, "err", err)
		}
		return nil
	}
	r := &remains{draft: draft, part: part}
	if json.Unmarshal(text, &r.note) != nil {
		r.note = note{}
	}
	if ask.Size > 0 && ask.Size != part.Entry.Size || contradicts(ask.Digest, r.note.Promise) || len(ask.Doubt) > 0 {
		r.drop() // it is of other content, or said to be
		c.counts.dropped.Add(1)
		return nil
	}
	return r
}

// contradicts reports whether two digests cannot be of the same content.
func contradicts(a, b exchange.Digest) bool {
	return a != "" && b != "" && a != b && a.Algorithm() == b.Algorithm()
}

// drop ends what is left.
func (r *remains) drop() {
	r.draft.Keep(nil, nil)
	r.draft.Close()
}

// begun is how much of the content is there without a gap.
func (r *remains) begun() int64 {
	if r.part.Have[0].From > 0 {
		return 0
	}
	return r.part.Have[0].To
}

// extents are what is there.
func (r *remains) extents() extents {
	x := make(extents, len(r.part.Have))
	for i, s := range r.part.Have {
		x[i] = extent{s.From, s.To}
	}
	return x
}

// weigh decides by an answer what becomes of what an earlier flight has left:
// upstream goes on with it, or could not say, or has other content by now.
func (f *flight) weigh(resp *exchange.Response) {
	if f.had == nil {
		return
	}
	switch status := resp.Entry.Status; {
	case resp.Resumed && resp.Ranges != nil:
	case status == http.StatusNotModified,
		status >= http.StatusBadRequest && status != http.StatusNotFound && status != http.StatusGone:
		f.putBack()
	default:
		f.had.drop()
		f.had = nil
		f.cache.counts.dropped.Add(1)
	}
}

// putBack leaves what an earlier flight has left to the next one.
func (f *flight) putBack() {
	if f.had != nil {
		f.had.draft.Close()
		f.had = nil
	}
}

// resume makes what an earlier flight has left the beginning of this one. If that
// has gaps, or several mirrors have the rest, arrived says what is there.
func (f *flight) resume(had *remains) {
	have := had.extents()
	f.draft = had.draft
	f.cache.counts.resumed.Add(1)
	f.cache.counts.resumedBytes.Add(have.sum())
	f.cache.log.Debug("transfer goes on", "hub", f.key.Hub, "key", f.key.Path, "mirror", f.mirror(), "had", have.sum(), "size", f.entry.Size)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frontier = max(had.begun()-f.hold, 0)
	f.resumed = have.sum()
	if len(have) > 1 || had.begun() == 0 || f.ranges.Striped() {
		f.arrived = have
	}
}

// errUnreadable says that what was drafted cannot be read back.
var errUnreadable = errors.New("the draft cannot be read")

// rehash hashes what the draft has from one offset to another.
func (f *flight) rehash(ctx context.Context, p *proof, from, to int64) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for from < to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := (*buf)[:min(int64(len(*buf)), to-from)]
		if n, err := f.draft.ReadAt(b, from); n < len(b) {
			return fmt.Errorf("%v: %w: %w", f.key, errUnreadable, err)
		}
		p.Write(b)
		from += int64(len(b))
	}
	return nil
}
