package upstream

import (
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Contest is how a race between several mirrors ended.
type Contest struct {
	Key    exchange.Key
	Begun  time.Time
	Winner string        // base URL
	Took   time.Duration // from Begun to the winner's head
	Rivals []Rival       // in the order they were asked in
}

// A Rival is a mirror that was asked and has not won.
type Rival struct {
	Mirror string // base URL
	Ending string // a key of [MirrorStats.Answers]

	// Behind is how much later than the winner's its head came, less than 0 if that
	// was not enough to win. If it has not Answered, it had not until then.
	Behind   time.Duration
	Answered bool
}

// ended is called by what runs for a race, at its end. The last one to do so has
// seen all that the others did, and tells of it.
func (r *race) ended() {
	raced := r.group.options.Raced
	if r.running.Add(-1) > 0 || raced == nil || r.rest != nil || r.winner == nil || len(r.legs) < 2 {
		return
	}
	c := Contest{Key: r.req.Key, Begun: r.began, Winner: r.winner.mirror.base, Took: r.winner.answered.Sub(r.began)}
	for _, l := range r.legs {
		if l == r.winner {
			continue
		}
		v := Rival{Mirror: l.mirror.base, Ending: endingWords[max(l.outcome, l.ending)], Answered: !l.answered.IsZero()}
		v.Behind = l.ended.Sub(r.winner.answered)
		if v.Answered {
			v.Behind = l.answered.Sub(r.winner.answered)
		}
		c.Rivals = append(c.Rivals, v)
	}
	raced(c)
}
