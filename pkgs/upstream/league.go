package upstream

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Stats are a group's numbers since it was made, and where its mirrors stand now.
type Stats struct {
	Requests     int64 `json:"requests"`     // races begun
	Asked        int64 `json:"asked"`        // requests to mirrors, all of those below included
	Hedges       int64 `json:"hedges"`       // to one more mirror because the others were late
	Explorations int64 `json:"explorations"` // to one more mirror to see how it fares
	Switches     int64 `json:"switches"`     // bodies that went on from another mirror, or from the same one anew
	Stripes      int64 `json:"stripes"`      // bodies that came in parts
	Alone        int64 `json:"alone"`        // of those, bodies that one mirror went on with alone, because it fills the line

	Mirrors []MirrorStats `json:"mirrors"`           // in the operator's order
	Samples []Sample      `json:"samples,omitempty"` // to measure mirrors by
}

// MirrorStats are those of one mirror.
type MirrorStats struct {
	Record
	Breaker string `json:"breaker"` // closed, open, half-open, paused

	Requests int64     `json:"requests"`        // to this mirror
	Wins     int64     `json:"wins"`            // races that its answer ended
	Failed   int64     `json:"failed"`          // requests that failed by its fault, bodies included
	Hedges   int64     `json:"hedges"`          // it was asked because others were late
	Left     int64     `json:"left"`            // bodies that went on elsewhere, because it died, stalled or crawled
	Resumed  int64     `json:"resumed"`         // bodies that went on from here
	Bytes    int64     `json:"bytes"`           // of bodies
	Error    string    `json:"error,omitempty"` // the last one
	ErrorAt  time.Time `json:"error-at,omitzero"`

	Answers map[string]int64 `json:"answers"`       // Requests, by what came of them; those that have ended
	Lag     *Lag             `json:"lag,omitempty"` // behind the freshest; nil: not known
}

// outrun and misled are what may come of a question besides an [outcome]: it was
// given up because another mirror was faster, or it led where it may not.
const (
	outrun = good + 1 + iota
	misled
	endings // how many there are
)

// endingWords are the keys of [MirrorStats.Answers].
var endingWords = [endings]string{
	failed: "failed", timedOut: "timed-out", other: "other-content", refused: "refused", busy: "busy",
	absent: "absent", forbidden: "forbidden", doubtful: "not-modified", notModified: "not-modified", good: "good",
	outrun: "outrun", misled: "misled",
}

// A standing is a mirror's record and numbers, as they change.
type standing struct {
	mu sync.Mutex // held for arithmetic only
	MirrorStats
}

// note changes the record.
func (s *standing) note(change func(r Record) Record) {
	s.mu.Lock()
	s.Record = change(s.Record)
	s.mu.Unlock()
}

// count changes the numbers.
func (s *standing) count(change func(*MirrorStats)) {
	s.mu.Lock()
	change(&s.MirrorStats)
	s.mu.Unlock()
}

func (s *standing) record() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Record
}

// A league is what the mirrors of a group share: the numbers of all of them,
// and what is left for extra requests.
type league struct {
	mirrors []*mirror
	bytes   atomic.Int64    // of all bodies
	over    context.Context // ends when the group is closed
	dates   dates

	mu      sync.Mutex // held for arithmetic only; after it no standing's
	totals  Stats
	budget  budget
	size    float64 // of an object, as a rule
	samples samples
}

func (g *league) count(change func(*Stats)) {
	g.mu.Lock()
	change(&g.totals)
	g.mu.Unlock()
}

// begin counts a race.
func (g *league) begin() {
	g.mu.Lock()
	g.totals.Requests++
	g.budget.earn()
	g.mu.Unlock()
}

// hedge reports whether the budget allows a hedge, and draws on it.
func (g *league) hedge() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return take(&g.budget.hedges)
}

// sized notes how large an object was.
func (g *league) sized(n int64) {
	if n < 0 {
		return
	}
	g.mu.Lock()
	if g.size == 0 {
		g.size = float64(n)
	}
	g.size += (float64(n) - g.size) / 16
	g.mu.Unlock()
}

// choose is [choose] for some of the mirrors as they stand now.
func (g *league) choose(tier []candidate, now time.Time, width int, size int64, exploring bool) choice {
	records := make([]Record, len(tier))
	for i, c := range tier {
		records[i] = c.mirror.standing.record()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	expected := float64(size)
	if size <= 0 {
		expected = g.size
	}
	var b *budget
	if exploring {
		b = &g.budget
	}
	return choose(records, now, width, expected, b)
}

// witness reports whether another mirror has answered since m began to fail.
func (g *league) witness(m *mirror) bool {
	if g == nil { // a mirror of no group
		return false
	}
	since := m.standing.record().Since
	for _, other := range g.mirrors {
		if other != m && !since.IsZero() && other.standing.record().Answered.After(since) {
			return true
		}
	}
	return false
}

// switched notes that a body went on from another mirror.
func (g *Group) switched(from, to *mirror, key exchange.Key, at int64, why error) {
	if why == errStalled {
		from.lapsed(why, Record.failed)
	}
	from.standing.count(func(s *MirrorStats) { s.Left++ })
	to.standing.count(func(s *MirrorStats) { s.Resumed++ })
	g.league.count(func(s *Stats) { s.Switches++ })
	g.options.Log.Info("body goes on from another mirror", slog.String("hub", key.Hub), slog.String("key", key.String()),
		slog.String("mirror", to.base), slog.String("from", from.base), slog.Int64("at", at), slog.Any("err", why))
}

// Records are what is known of the mirrors, for [Options.Records] of a group to come.
func (g *Group) Records() []Record {
	records := make([]Record, len(g.mirrors))
	for i, m := range g.mirrors {
		records[i] = m.standing.record()
	}
	return records
}

// Stats are the group's numbers.
func (g *Group) Stats() Stats {
	g.league.mu.Lock()
	s := g.league.totals
	s.Samples = g.league.samples.sorted()
	g.league.mu.Unlock()
	now := time.Now()
	for _, m := range g.mirrors {
		m.standing.mu.Lock()
		ms := m.standing.MirrorStats
		m.standing.mu.Unlock()
		ms.Bytes = m.bytes.Load()
		ms.Breaker = string(ms.Record.breaker(now))
		ms.Lag = g.league.dates.lag(m)
		ms.Answers = make(map[string]int64, endings)
		for i, word := range endingWords {
			ms.Answers[word] += m.endings[i].Load()
		}
		s.Mirrors = append(s.Mirrors, ms)
	}
	return s
}
