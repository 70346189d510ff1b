package upstream

import (
	"container/list"
	"net/http"
	"slices"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// How far a mirror lags behind the freshest is learned from dates of publication:
// what an index says of itself, where a hub reads that ([Group.Saw]), else the
// Last-Modified of mutable content, as far as that is a strong validator.
//
// What is compared is two dates of the same path. Something that was published
// after a mirror was last looked at does not count against it: how long ago it was
// looked at then says how much is known.
const (
	maxDated = 256         // paths
	skew     = time.Minute // how far ahead a clock may be
)

// dates are what the mirrors of a group were seen to have. The zero value is ready.
type dates struct {
	mu    sync.Mutex        // held for arithmetic only
	paths map[string]*dated // at most maxDated; guarded by mu, like all below
	order list.List         // of *dated, the last used first
}

// A dated is what is known of one path.
type dated struct {
	newest  time.Time // of all mirrors
	read    bool      // the dates are the content's own; those of headers do not count then
	path    string
	place   *list.Element // in order
	mirrors map[*mirror]sighting
}

// A sighting is what a mirror had when it was last looked at.
type sighting struct {
	date, seen time.Time
	lag        time.Duration // then
}

// see notes what a mirror has under a path.
func (d *dates) see(path string, m *mirror, date, now time.Time, read bool) {
	if date.Year() < 1990 || date.After(now.Add(skew)) { // no date, or none to measure others by
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.path(path)
	switch {
	case p.read && !read:
		return
	case read && !p.read:
		p.newest, p.read, p.mirrors = time.Time{}, true, map[*mirror]sighting{}
	}
	if date.After(p.newest) {
		p.newest = date
		for other, s := range p.mirrors {
			if !date.After(s.seen) { // it was there to be had
				s.lag = date.Sub(s.date)
				p.mirrors[other] = s
			}
		}
	}
	p.mirrors[m] = sighting{date, now, p.newest.Sub(date)}
}

// path is what is known of one; of the least recently used nothing is kept.
func (d *dates) path(path string) *dated {
	if d.paths == nil {
		d.paths = map[string]*dated{}
	}
	p := d.paths[path]
	if p != nil {
		d.order.MoveToFront(p.place)
		return p
	}
	if len(d.paths) >= maxDated {
		oldest := d.order.Remove(d.order.Back()).(*dated)
		delete(d.paths, oldest.path)
	}
	p = &dated{path: path, mirrors: map[*mirror]sighting{}}
	p.place = d.order.PushFront(p)
	d.paths[path] = p
	return p
}

// A Lag is how far a mirror is behind the freshest of its group: of indexes that
// were read the worst one counts, else the median of all content.
type Lag struct {
	Behind time.Duration `json:"behind"`
	Date   time.Time     `json:"date"` // of what it had
	Seen   time.Time     `json:"seen"` // when it was looked at
}

// lag is a mirror's; nil if nothing of it can be compared.
func (d *dates) lag(m *mirror) *Lag {
	d.mu.Lock()
	defer d.mu.Unlock()
	var read, others []sighting
	for _, p := range d.paths {
		s, ok := p.mirrors[m]
		switch {
		case !ok || len(p.mirrors) < 2:
		case p.read:
			read = append(read, s)
		default:
			others = append(others, s)
		}
	}
	byLag := func(a, b sighting) int { return int((a.lag - b.lag) / time.Second) }
	switch {
	case len(read) > 0:
		s := slices.MaxFunc(read, byLag)
		return &Lag{s.lag, s.date, s.seen}
	case len(others) > 0:
		slices.SortFunc(others, byLag)
		s := others[len(others)/2]
		return &Lag{s.lag, s.date, s.seen}
	}
	return nil
}

// Saw notes when the index under a path, as a mirror has it, says that it was
// published. Who reads indexes calls it; the mirror is a base URL. A mirror that is
// none of the group's is passed over.
func (g *Group) Saw(path, base string, date time.Time) {
	for _, m := range g.mirrors {
		if m.base == base {
			g.league.dates.see(path, m, date, time.Now(), true)
			return
		}
	}
}

// dated notes how old mutable content is that a mirror has.
func (l *leg) dated() {
	if l.req.Policy.Class != freshness.Mutable || l.req.Post != nil || l.rest != nil || l.mirror.league == nil {
		return
	}
	var e *exchange.Entry
	switch {
	case l.outcome == notModified:
		e = l.req.Validate
	case l.outcome == good && l.entry.Status == http.StatusOK:
		e = l.entry
	default:
		return
	}
	if !strongDate(e.Header) {
		return
	}
	if date, err := http.ParseTime(e.Header.Get("Last-Modified")); err == nil {
		l.mirror.league.dates.see(l.req.Key.Path, l.mirror, date, time.Now(), false)
	}
}
