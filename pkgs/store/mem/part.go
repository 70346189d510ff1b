package mem

import (
	"context"
	"fmt"
	"io/fs"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

var (
	_ store.Resumer = (*Store)(nil)
	_ store.Keeper  = (*draft)(nil)
)

// maxParts is how many parts are kept; beyond that an arbitrary one goes.
const maxParts = 16

// kept is what a draft leaves.
type kept struct {
	part *exchange.Part
	note []byte
}

// part is what a closed draft has left.
type part struct {
	kept
	content []byte
	room    int64
}

// Keep implements [store.Keeper].
func (d *draft) Keep(p *exchange.Part, note []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = kept{p, note}
}

// Resume implements [store.Resumer].
func (s *Store) Resume(ctx context.Context, key exchange.Key) (store.Keeper, *exchange.Part, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	s.mu.Lock()
	p, ok := s.parts[key]
	delete(s.parts, key)
	s.mu.Unlock()
	if !ok {
		return nil, nil, nil, fmt.Errorf("resume %v: %w", key, fs.ErrNotExist)
	}
	d := &draft{store: s, content: p.content, room: p.room, kept: p.kept}
	if err := d.reserve(p.part.Entry.Size); err != nil {
		d.kept = kept{}
		d.Close()
		return nil, nil, nil, fmt.Errorf("resume %v: %w", key, err)
	}
	return d, p.part, p.note, nil
}

// leave keeps what a draft has; mu is held.
func (s *Store) leave(d *draft) {
	have := d.kept.part.Have
	p := part{d.kept, d.content[:have[len(have)-1].To], d.room}
	key := p.part.Entry.Key
	s.dropPart(key)
	for other := range s.parts {
		if len(s.parts) < maxParts {
			break
		}
		s.dropPart(other)
	}
	if s.parts == nil {
		s.parts = map[exchange.Key]part{}
	}
	s.parts[key] = p
}

// dropPart forgets the part of a key; mu is held.
func (s *Store) dropPart(key exchange.Key) {
	s.used -= s.parts[key].room
	delete(s.parts, key)
}
