package cacheproxy

import (
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// recentRaces is how many races are kept for the page.
const recentRaces = 64

// A board is what only the page for people shows: what requests came to over time,
// and races of late. The zero value is ready.
type board struct {
	history admin.History

	mu      sync.Mutex
	races   []admin.Race            // guarded by mu, like all below; the oldest first
	before  map[string]admin.Totals // by hub, as seconds are up to
	seconds float64                 // that mirrors would have taken for what was saved
}

// raced takes a race.
func (b *board) raced(c upstream.Contest) {
	race := admin.Race{Hub: c.Key.Hub, Path: c.Key.Path, At: c.Begun, Winner: c.Winner, Took: c.Took}
	for _, r := range c.Rivals {
		race.Rivals = append(race.Rivals, admin.Rival{Mirror: r.Mirror, Ending: r.Ending, Answered: r.Answered, Behind: r.Behind})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.races) == recentRaces {
		b.races = append(b.races[:0], b.races[1:]...)
	}
	b.races = append(b.races, race)
}

// recent are the races, the newest first.
func (b *board) recent() []admin.Race {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]admin.Race, len(b.races))
	for i, r := range b.races {
		all[len(all)-1-i] = r
	}
	return all
}

// note takes what hubs have counted. What was saved since the last time would have
// taken as long as the quickest mirror of the hub takes for as much, as it fares
// now: to its head for each hit, and for the bytes. Where no mirror's pace is known,
// nothing is said to be saved.
func (b *board) note(now time.Time, hubs []admin.HubCounts, all []Standing) (seconds float64) {
	var sum admin.Totals
	b.mu.Lock()
	if b.before == nil {
		b.before = map[string]admin.Totals{}
	}
	for _, h := range hubs {
		before := b.before[h.Name]
		b.before[h.Name] = h.Totals
		if first, rate := pace(h.Name, all); rate > 0 {
			b.seconds += float64(h.Hits-before.Hits)*first.Seconds() + float64(h.Saved-before.Saved)/rate
		}
	}
	for _, t := range b.before { // hubs that are gone included, so that sums never fall
		sum.Requests += t.Requests
		sum.Hits += t.Hits
		sum.Sent += t.Sent
		sum.Saved += t.Saved
	}
	seconds = b.seconds
	b.mu.Unlock()
	b.history.Note(now, sum)
	return seconds
}

// pace is how the quickest mirror of a hub fares; 0 if none is known.
func pace(hub string, all []Standing) (first time.Duration, rate float64) {
	for _, s := range all {
		if s.Hub != hub {
			continue
		}
		for _, m := range s.Mirrors {
			if m.Rate > rate {
				first, rate = m.First, m.Rate
			}
		}
	}
	return first, rate
}

// page is what the page for people shows.
func (a *operators) page() *admin.Board {
	s := a.server
	return &admin.Board{
		Overview: a.overview,
		Leagues:  a.leagues,
		Races:    a.board.recent,
		Problems: func() []admin.Problem { return problems(s.recent.Records()) },
		Config: func() (string, error) {
			var b strings.Builder
			err := s.revision().config.WriteYAML(&b)
			return b.String(), err
		},
		Now: s.options.Now,
	}
}

func (a *operators) hubCounts() []admin.HubCounts {
	var all []admin.HubCounts
	for _, h := range a.hubs() {
		one := admin.HubCounts{Name: h.Name, Type: string(h.Type), Path: h.Path, Offline: h.Offline}
		for word, n := range h.Requests {
			one.Requests += n
			if word != "miss" && word != "bypass" {
				one.Hits += n
			}
		}
		for _, n := range h.Sent {
			one.Sent += n
		}
		one.Saved = h.Saved
		all = append(all, one)
	}
	return all
}

// sample notes what there is now.
func (a *operators) sample() (hubs []admin.HubCounts, seconds float64) {
	hubs = a.hubCounts()
	return hubs, a.board.note(a.server.options.Now(), hubs, a.server.revision().standings())
}

func (a *operators) overview() admin.Overview {
	st := a.status()
	hubs, seconds := a.sample()
	o := admin.Overview{
		Version: st.Version, Started: st.Started, Revision: st.Revision, InForce: st.InForce, Draining: st.Draining,
		Stored: st.Store.Bytes, Limit: st.Store.MaxSize, Free: st.Store.Free, Entries: st.Store.Entries, Scanned: st.Store.Scanned,
		Seconds: seconds, Hubs: hubs, History: a.board.history.Points(a.server.options.Now()),
	}
	if st.Cache.Bypassed {
		o.Trouble = "The store is not written to, after errors: what is downloaded now is not kept."
	}
	return o
}

func (a *operators) leagues() []admin.League {
	var all []admin.League
	for _, st := range a.server.revision().standings() {
		l := admin.League{Hub: st.Hub, Origin: st.Origin, Races: st.Requests, Hedges: st.Hedges, Switches: st.Switches}
		for _, m := range st.Mirrors {
			one := admin.Mirror{
				Mirror: m.Mirror, State: m.Breaker, Wins: m.Wins, Asked: m.Requests, Failed: m.Failed, Bytes: m.Bytes,
				First: m.First, Rate: m.Rate, Errors: m.Errors, Error: m.Error, ErrorAt: m.ErrorAt,
			}
			if m.Lag != nil {
				one.Lag = m.Lag.Behind
			}
			l.Mirrors = append(l.Mirrors, one)
		}
		all = append(all, l)
	}
	return all
}

func problems(records []observe.Record) []admin.Problem {
	all := make([]admin.Problem, len(records))
	for i, r := range records {
		all[i] = admin.Problem(r)
	}
	return all
}
