package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The simulator is a model of mirrors that drift, are throttled and have
// outages, and of the policies of a race over them. Whom to ask, when, and when
// to leave a body is decided by the real functions of plan.go and record.go;
// only the waiting is made up. One object comes after the other.

// A world is what each mirror would do, object by object: the same for all policies.
type world struct {
	objects []simObject
	line    float64 // bytes a second, of ours
}

type simObject struct {
	at      time.Time
	size    float64
	mirrors []simAnswer
}

type simAnswer struct {
	first time.Duration // to the head, or to the failure
	fails bool          // refused, after first
	rate  float64
	dies  float64 // after so much of the body; +Inf: never
	slows float64 // after so much of the body, to a fiftieth; +Inf: never
}

func newWorld(seed uint64, objects, mirrors int) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	type state struct {
		first, rate       float64 // seconds, bytes a second: of a calm moment
		drift             float64
		outage, throttled time.Duration // left
		silent            bool
	}
	all := make([]state, mirrors)
	for i := range all {
		all[i] = state{first: .02 * math.Exp(r.Float64()*2.5), rate: 2e6 * math.Exp(r.Float64()*3.5)}
	}
	w := &world{line: 60e6}
	now := epoch
	for range objects {
		step := time.Duration(r.ExpFloat64() * float64(400*time.Millisecond))
		now = now.Add(step)
		o := simObject{at: now, size: min(100e3*math.Exp(r.NormFloat64()*2), 2e9)}
		for i := range all {
			s := &all[i]
			s.drift = .999*s.drift + .03*r.NormFloat64()
			hourly := func(times float64) bool { return r.Float64() < times*step.Hours() }
			if s.outage -= step; s.outage <= 0 && hourly(1) {
				s.outage, s.silent = time.Duration((30+300*r.Float64())*1e9), r.IntN(2) == 0
			}
			if s.throttled -= step; s.throttled <= 0 && hourly(2) {
				s.throttled = time.Duration((60 + 600*r.Float64()) * 1e9)
			}
			a := simAnswer{
				first: time.Duration(s.first * math.Exp(s.drift+.15*r.NormFloat64()) * 1e9),
				rate:  s.rate * math.Exp(-s.drift+.2*r.NormFloat64()),
				dies:  math.Inf(1), slows: math.Inf(1),
			}
			if r.Float64() < .01 {
				a.first *= 10
			}
			if s.throttled > 0 {
				a.rate /= 20
			}
			if s.outage > 0 {
				a.fails = true
				if s.silent {
					a.first = 15 * time.Second
				}
			}
			switch r.IntN(400) { // in mid-body
			case 0:
				a.dies = o.size * r.Float64()
			case 1:
				a.slows = o.size * r.Float64()
			}
			a.rate = min(a.rate, w.line)
			o.mirrors = append(o.mirrors, a)
		}
		w.objects = append(w.objects, o)
	}
	return w
}

// took is how long n bytes from off on take. A body that dies is asked for
// anew, from its begin; that is what clients do.
func (a simAnswer) took(off, n float64) time.Duration {
	d := n / a.rate
	if a.slows >= off && a.slows < off+n {
		d += (off + n - a.slows) / a.rate * 49
	}
	if a.dies >= off && a.dies < off+n {
		d += (a.dies + a.first.Seconds()*a.rate) / a.rate
	}
	return time.Duration(d * 1e9)
}

// A policy fetches an object and says how long it took, and how many were asked.
type policy func(o simObject) (time.Duration, int)

// oracle asks nobody but the one that will turn out best.
func (w *world) oracle(o simObject) (time.Duration, int) {
	best := time.Duration(math.MaxInt64)
	for _, a := range o.mirrors {
		if !a.fails {
			best = min(best, a.first+a.took(0, o.size))
		}
	}
	if best == math.MaxInt64 {
		best = 0 // nobody can; it counts for none
	}
	return best, 1
}

// bandwidth is mode all: everybody delivers up to 50 MiB, and they share the line.
func (w *world) bandwidth(o simObject) (time.Duration, int) {
	var sum float64
	for _, a := range o.mirrors {
		if !a.fails {
			sum += a.rate
		}
	}
	const chunk = 50 << 20
	share := min(1, w.line/sum)
	best, rest := time.Duration(math.MaxInt64), time.Duration(0)
	for _, a := range o.mirrors {
		if a.fails {
			continue
		}
		slow := a
		slow.rate *= share
		if d := a.first + slow.took(0, min(o.size, chunk)); d < best {
			best, rest = d, 0
			if o.size > chunk {
				rest = a.took(chunk, o.size-chunk)
			}
		}
	}
	return best + rest, len(o.mirrors)
}

// heads is all at once, and the first head wins.
func (w *world) heads(o simObject) (time.Duration, int) {
	best := -1
	for i, a := range o.mirrors {
		if !a.fails && (best < 0 || a.first < o.mirrors[best].first) {
			best = i
		}
	}
	return o.mirrors[best].first + o.mirrors[best].took(0, o.size), len(o.mirrors)
}

// ordered asks one by one, the next when one fails or has been silent for patience.
func (w *world) ordered(o simObject) (time.Duration, int) {
	var wait time.Duration
	for i, a := range o.mirrors {
		if !a.fails && a.first <= patience {
			return wait + a.first + a.took(0, o.size), i + 1
		}
		wait += min(a.first, patience)
	}
	return wait, len(o.mirrors)
}

// adaptive is the real thing.
type adaptive struct {
	width   int
	stagger time.Duration
	change  bool // switch
	sizes   bool // are known beforehand, from an index

	records  []Record
	budget   budget
	size     float64
	switches int
}

type simLeg struct {
	mirror      int
	start, done time.Time
}

func (p *adaptive) get(o simObject) (time.Duration, int) {
	p.budget.earn()
	if p.size == 0 || p.sizes {
		p.size = o.size
	}
	winner, at, asked := p.race(o, p.records, o.at, true)
	if winner < 0 {
		return at.Sub(o.at), asked
	}
	p.size += (o.size - p.size) / 16
	end, more := p.body(o, winner, at)
	return end.Sub(o.at), asked + more
}

// race is race.run, on a clock of its own.
func (p *adaptive) race(o simObject, records []Record, start time.Time, first bool) (winner int, at time.Time, asked int) {
	now := start
	var legs []simLeg
	ask := func(i int) {
		records[i] = records[i].asked(now)
		legs = append(legs, simLeg{i, now, now.Add(o.mirrors[i].first)})
		asked++
	}
	b := &p.budget
	if !first {
		b = nil
	}
	c := choose(records, now, p.width, p.size, b)
	queue := slices.Clone(c.order[c.width:])
	for _, i := range c.order[:c.width] {
		ask(i)
	}
	if c.explore >= 0 {
		queue = slices.DeleteFunc(queue, func(i int) bool { return i == c.explore })
		ask(c.explore)
	}
	queue = append(queue, c.last...)
	for {
		if len(legs) == 0 && len(queue) == 0 {
			return -1, now, asked
		}
		if len(legs) == 0 {
			ask(queue[0])
			queue = queue[1:]
		}
		last := legs[len(legs)-1]
		if c.explore >= 0 && last.mirror == c.explore && len(legs) > 1 {
			last = legs[0]
		}
		hedge, rescue := hedgeAfter(records[last.mirror], last.start, p.stagger)
		next := slices.MinFunc(legs, func(a, b simLeg) int { return a.done.Compare(b.done) })
		timer := last.start.Add(hedge)
		if timer.Before(now) || timer.Equal(now) {
			timer = last.start.Add(rescue)
		}
		if len(queue) > 0 && timer.Before(next.done) && timer.After(now) {
			now = timer
			if !now.Before(last.start.Add(rescue)) || b == nil || take(&b.hedges) {
				ask(queue[0])
				queue = queue[1:]
			}
			continue
		}
		now = next.done
		legs = slices.DeleteFunc(legs, func(l simLeg) bool { return l == next })
		i := next.mirror
		if o.mirrors[i].fails {
			records[i] = records[i].failed(now, true)
			if len(queue) > 0 {
				ask(queue[0])
				queue = queue[1:]
			}
			continue
		}
		records[i] = records[i].headed(now, o.mirrors[i].first)
		for _, l := range legs { // the losers have a little more time
			d := now.Add(grace).Sub(l.start)
			if a := o.mirrors[l.mirror]; a.first > d {
				records[l.mirror] = records[l.mirror].outrun(now, d)
			} else if a.fails {
				records[l.mirror] = records[l.mirror].failed(now, true)
			} else {
				records[l.mirror] = records[l.mirror].headed(now, a.first)
			}
		}
		return i, now, asked
	}
}

// body fetches the content, window by window where it is long.
func (p *adaptive) body(o simObject, i int, now time.Time) (end time.Time, asked int) {
	var off float64
	peak := p.records[i].Rate
	began, switches := now, 0
	var left []int
	leave := func(wait time.Duration) bool {
		if !p.change || switches == maxSwitches {
			return false
		}
		left = append(left, i)
		others := slices.Clone(p.records)
		for _, k := range left {
			others[k].Pause = now.Add(time.Hour)
		}
		winner, at, n := p.race(o, others, now.Add(wait), false)
		asked += n
		for k := range others {
			if !slices.Contains(left, k) {
				p.records[k] = others[k]
			}
		}
		if winner < 0 {
			return false
		}
		i, now, began = winner, at, at
		switches++
		p.switches++
		return true
	}
	began0 := off
	for off < o.size {
		a := o.mirrors[i]
		rate := a.rate
		if off >= a.slows {
			rate /= 50
		}
		n := min(rate*paceWindow.Seconds(), o.size-off)
		if off < a.slows {
			n = min(n, max(a.slows-off, 1))
		}
		if a.dies >= off && a.dies < off+n {
			now = now.Add(time.Duration((a.dies - off) / rate * 1e9))
			off = a.dies
			p.records[i] = p.records[i].failed(now, true)
			if !leave(0) {
				now = now.Add(a.first + time.Duration(off/rate*1e9)) // again from the begin
				a.dies = math.Inf(1)
				o.mirrors = slices.Clone(o.mirrors)
				o.mirrors[i] = a
			}
			began0 = off
			continue
		}
		d := time.Duration(n / rate * 1e9)
		off += n
		now = now.Add(d)
		if d < paceWindow-time.Millisecond || off >= o.size {
			continue
		}
		p.records[i] = p.records[i].moved(now, rate)
		others := slices.Clone(p.records)
		others[i].Until = now.Add(time.Hour)
		for _, k := range left {
			others[k].Until = now.Add(time.Hour)
		}
		if crawls(others, now, rate, peak, 0, int64(o.size-off)) && leave(0) {
			began0 = off
		}
		peak = max(peak, rate)
	}
	if off-began0 >= paceBytes && now.After(began) {
		p.records[i] = p.records[i].moved(now, (off-began0)/now.Sub(began).Seconds())
	}
	return now, asked
}

// play runs a policy over worlds, and compares it with the oracle.
func play(worlds []*world, make func(w *world) policy) (sum, typical, bad, asked float64) {
	var total, best float64
	var ratios []float64
	var n int
	for _, w := range worlds {
		p := make(w)
		for _, o := range w.objects {
			least, _ := w.oracle(o)
			if least == 0 {
				continue
			}
			d, a := p(o)
			total += d.Seconds()
			best += least.Seconds()
			ratios = append(ratios, d.Seconds()/least.Seconds())
			asked += float64(a)
			n++
		}
	}
	slices.Sort(ratios)
	return total / best, ratios[n/2], ratios[n*99/100], asked / float64(n)
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds, objects := 1, 3000
	if os.Getenv("UPSTREAM_SIMULATION") != "" {
		seeds, objects = 10, 10000
	}
	var worlds []*world
	for seed := range seeds {
		worlds = append(worlds, newWorld(uint64(seed), objects, 8))
	}
	var table strings.Builder
	show := func(name string, make func(w *world) policy) (sum, typical, bad, asked float64) {
		sum, typical, bad, asked = play(worlds, make)
		fmt.Fprintf(&table, "//\t%-32s %6.2f %8.2f %8.2f %8.2f\n", name, sum, typical, bad, asked)
		return sum, typical, bad, asked
	}
	fmt.Fprintf(&table, "//\t%-32s %6s %8s %8s %8s\n", "policy", "sum", "median", "p99", "asked")
	heads, _, _, _ := show("all, first head", func(w *world) policy { return w.heads })
	show("all, first 50 MiB", func(w *world) policy { return w.bandwidth })
	order, _, _, _ := show("ordered", func(w *world) policy { return w.ordered })
	var ours [4]float64
	widths := []int{3}
	if seeds > 1 {
		widths = []int{1, 2, 3, 4}
	}
	for _, width := range widths {
		for _, stagger := range []time.Duration{100, 250, 500} {
			stagger *= time.Millisecond
			for _, change := range []bool{false, true} {
				if change != (width == 3) && !(width == 3 && stagger == 250*time.Millisecond) {
					continue
				}
				name := fmt.Sprintf("adaptive %d, %v", width, stagger)
				if change {
					name += ", switch"
				}
				sum, typical, bad, asked := show(name, func(w *world) policy {
					return (&adaptive{width: width, stagger: stagger, change: change,
						records: make([]Record, len(w.objects[0].mirrors)), budget: budget{1, 1}}).get
				})
				if width == 3 && stagger == 250*time.Millisecond && change {
					ours = [4]float64{sum, typical, bad, asked}
				}
			}
		}
	}
	show("adaptive 3, 250ms, switch, sizes", func(w *world) policy {
		return (&adaptive{width: 3, stagger: 250 * time.Millisecond, change: true, sizes: true,
			records: make([]Record, len(w.objects[0].mirrors)), budget: budget{1, 1}}).get
	})
	t.Log("\n" + table.String())
	assert.Less(t, ours[0], heads)
	assert.Less(t, ours[0], order)
	assert.LessOrEqual(t, ours[3], 1.15)
}
