package observe

import (
	"maps"
	"time"
)

// A Group is mirrors of the same content, as they are raced for one hub.
type Group struct {
	Hub, Origin string // Origin is the name of a second host; "" is the hub's mirrors

	Requests     int64 // races begun
	Asked        int64 // requests to mirrors
	Hedges       int64 // of those, because others were late
	Explorations int64 // of those, to see how a mirror fares
	Switches     int64 // bodies that went on elsewhere
	Stripes      int64 // bodies that came in parts
	Alone        int64 // of those, bodies that one mirror brought alone since it filled the line

	Mirrors []Mirror
}

// A Mirror is one of a group.
type Mirror struct {
	Mirror string // base URL

	Wins, Failed, Hedges, Left, Resumed, Bytes int64
	Answers                                    map[string]int64 // requests, by what came of them

	First  time.Duration // to the head, of late; 0: not known
	Rate   float64       // bytes a second of one body, of late; 0: not known
	Closed bool          // the breaker is: it is asked like any other
	Lag    time.Duration // behind the freshest
	HasLag bool          // Lag is known
	Errors float64       // share of requests that failed, of late

	Quota    int64 // requests that it will still answer, as it says itself
	HasQuota bool  // it has said so
}

// groupMetrics are the counters of a group.
var groupMetrics = [...]struct {
	name, help string
	of         func(*Group) int64
}{
	{"races_total", "Requests that mirrors were raced for.", func(g *Group) int64 { return g.Requests }},
	{"mirror_requests_total", "Requests to mirrors, all of a race and its continuations.", func(g *Group) int64 { return g.Asked }},
	{"hedges_total", "Requests to one more mirror because others were late; with explorations at most a tenth of races once mirrors are known.", func(g *Group) int64 { return g.Hedges }},
	{"explorations_total", "Requests to one more mirror to see how it fares.", func(g *Group) int64 { return g.Explorations }},
	{"switches_total", "Bodies that went on from another mirror, or from the same one anew.", func(g *Group) int64 { return g.Switches }},
	{"stripes_total", "Bodies that came in parts from several mirrors.", func(g *Group) int64 { return g.Stripes }},
	{"stripes_alone_total", "Bodies in parts that one mirror went on with alone, since it filled the line.", func(g *Group) int64 { return g.Alone }},
}

// mirrorMetrics are the numbers of a mirror. What is not ok is not shown.
var mirrorMetrics = [...]struct {
	name, help string
	gauge      bool
	of         func(*Mirror) (v float64, ok bool)
}{
	{"mirror_wins_total", "Races that the mirror's answer ended.", false, func(m *Mirror) (float64, bool) { return float64(m.Wins), true }},
	{"mirror_failed_total", "Requests that failed by the mirror's fault, bodies included.", false, func(m *Mirror) (float64, bool) { return float64(m.Failed), true }},
	{"mirror_hedges_total", "Requests to the mirror because others were late.", false, func(m *Mirror) (float64, bool) { return float64(m.Hedges), true }},
	{"mirror_left_total", "Bodies that went on elsewhere because the mirror died, stalled or crawled.", false, func(m *Mirror) (float64, bool) { return float64(m.Left), true }},
	{"mirror_resumed_total", "Bodies that went on from the mirror.", false, func(m *Mirror) (float64, bool) { return float64(m.Resumed), true }},
	{"fetched_bytes_total", "Bytes of bodies that came from the mirror.", false, func(m *Mirror) (float64, bool) { return float64(m.Bytes), true }},
	{"mirror_first_byte_seconds", "From request to head, of late.", true, func(m *Mirror) (float64, bool) { return m.First.Seconds(), m.First > 0 }},
	{"mirror_bytes_per_second", "Of one body, of late.", true, func(m *Mirror) (float64, bool) { return m.Rate, m.Rate > 0 }},
	{"mirror_error_ratio", "Share of requests that failed, of late.", true, func(m *Mirror) (float64, bool) { return m.Errors, true }},
	{"mirror_up", "1 if the mirror is asked like any other, 0 while its breaker is open or it has asked for a pause.", true, func(m *Mirror) (float64, bool) { return truth(m.Closed), true }},
	{"mirror_lag_seconds", "How much older than the newest known the mirror's indexes are.", true, func(m *Mirror) (float64, bool) { return m.Lag.Seconds(), m.HasLag }},
	{"mirror_quota_remaining", "Requests that the mirror will still answer, as it has last said (registries).", true, func(m *Mirror) (float64, bool) { return float64(m.Quota), m.HasQuota }},
}

// groups sends what groups have counted. Two mirrors of a group with the same
// base URL, for different paths, are one.
func (c *collector) groups(s sender, groups []Group) {
	for i := range groups {
		g := &groups[i]
		for j, m := range groupMetrics {
			s.counter(c.group[j], m.of(g), g.Hub, g.Origin)
		}
		for _, mirror := range merged(g.Mirrors) {
			for j, m := range mirrorMetrics {
				v, ok := m.of(&mirror)
				switch {
				case !ok:
				case m.gauge:
					s.gauge(c.mirror[j], v, g.Hub, g.Origin, mirror.Mirror)
				default:
					s.counter(c.mirror[j], int64(v), g.Hub, g.Origin, mirror.Mirror)
				}
			}
			for word, v := range mirror.Answers {
				s.counter(c.answer, v, g.Hub, g.Origin, mirror.Mirror, word)
			}
		}
	}
}

// merged joins those of the same name: what they counted is added up, how they
// fare is that of the first.
func merged(all []Mirror) []Mirror {
	at := map[string]int{}
	var out []Mirror
	for _, m := range all {
		i, ok := at[m.Mirror]
		if !ok {
			at[m.Mirror] = len(out)
			m.Answers = maps.Clone(m.Answers)
			out = append(out, m)
			continue
		}
		o := &out[i]
		o.Wins += m.Wins
		o.Failed += m.Failed
		o.Hedges += m.Hedges
		o.Left += m.Left
		o.Resumed += m.Resumed
		o.Bytes += m.Bytes
		for word, n := range m.Answers {
			o.Answers[word] += n
		}
	}
	return out
}
