package observe

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// outcomes are the values of the label outcome, in lower case: the words of X-Cache.
var outcomes = [...]string{"HIT", "MISS", "STALE", "REVALIDATED", "COALESCED", "BYPASS"}

// sources are the values of the label source: where the bytes of an answer came from.
var sources = [...]string{"store", "shared", "upstream"}

const (
	fromStore    = iota
	fromShared   // another request's transfer
	fromUpstream // a transfer of its own
)

// reasons are the values of the label reason: why a request got an error of the
// proxy's own, or less than a whole answer. What is none of them is the last one.
var reasons = [...]string{
	"method", "body", "body-size", "target", "host", "fields", "loop", "path", // what no hub should see
	"not-found", "unauthorized", "forbidden", "rate", "range", "precondition", "policy", "bad-request",
	"denied", "filter", "fills", // what a filter, or the limits, would not let pass
	"ranges", "object-size", "upstream", "timeout", "unavailable", "offline", "internal", // what nobody could give
	"cut", "client-slow", "client-gone", // an answer that was begun
	"admin-host", "admin-origin", "admin-token", // at the listener for operators, whose hub is ""
	"other",
}

// A Hub counts what requests for one hub come to. It is safe for concurrent use,
// and costs an atomic addition each time. The nil Hub counts nothing.
type Hub struct {
	outcomes [len(outcomes)]atomic.Int64
	sent     [len(sources)]atomic.Int64
	refused  [len(reasons)]atomic.Int64
}

// Answered counts an answer.
func (h *Hub) Answered(o exchange.Outcome) {
	if h != nil {
		h.outcomes[outcome(o)].Add(1)
	}
}

// Sent counts the bytes of an answer's body that a client was sent.
func (h *Hub) Sent(o exchange.Outcome, n int64) {
	if h == nil {
		return
	}
	from := fromUpstream
	switch {
	case o.Hit, o.Stale, o.Fwd == exchange.FwdStale && o.FwdStatus == 304:
		from = fromStore
	case o.Collapsed:
		from = fromShared
	}
	h.sent[from].Add(n)
}

// Refused counts a request that got no answer, or less than one. A reason that is
// not known is counted as "other".
func (h *Hub) Refused(reason string) {
	if h == nil {
		return
	}
	i := slices.Index(reasons[:], reason)
	if i < 0 {
		i = len(reasons) - 1
	}
	h.refused[i].Add(1)
}

// outcome is the index of an outcome's word.
func outcome(o exchange.Outcome) int {
	if o.Hit && !o.Stale { // the most, and the first of the words
		return 0
	}
	return max(slices.Index(outcomes[:], o.Word()), 0)
}

// Counts are what a Hub has counted, by the words of each label.
type Counts struct {
	Requests map[string]int64 `json:"requests"` // by outcome
	Sent     map[string]int64 `json:"sent"`     // bytes, by source
	Saved    int64            `json:"saved"`    // bytes sent that were not fetched for it
	Refused  map[string]int64 `json:"refused"`  // by reason
}

// Counts are those of now.
func (h *Hub) Counts() Counts {
	c := Counts{Requests: map[string]int64{}, Sent: map[string]int64{}, Refused: map[string]int64{}}
	for i := range h.outcomes {
		c.Requests[strings.ToLower(outcomes[i])] = h.outcomes[i].Load()
	}
	for i := range h.sent {
		c.Sent[sources[i]] = h.sent[i].Load()
	}
	c.Saved = c.Sent[sources[fromStore]] + c.Sent[sources[fromShared]]
	for i := range h.refused {
		c.Refused[reasons[i]] = h.refused[i].Load()
	}
	return c
}

// Hubs are counters by hub. They stay for as long as the process runs, so that a
// new configuration goes on where the one before was. The zero value is ready.
type Hubs struct {
	mu  sync.Mutex
	all map[string]*Hub // guarded by mu
}

// Hub is the counters of a hub; the same for the same name.
func (h *Hubs) Hub(name string) *Hub {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[string]*Hub{}
	}
	if h.all[name] == nil {
		h.all[name] = &Hub{}
	}
	return h.all[name]
}

// each calls f with every hub's counts.
func (h *Hubs) each(f func(name string, c Counts)) {
	h.mu.Lock()
	all := make(map[string]*Hub, len(h.all))
	for name, hub := range h.all {
		all[name] = hub
	}
	h.mu.Unlock()
	for name, hub := range all {
		f(name, hub.Counts())
	}
}
