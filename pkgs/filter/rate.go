package filter

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type rateLimiterOptions struct {
	Requests int           `yaml:"requests,required"` // in each per
	Per      time.Duration `yaml:"per"`
	Burst    int           `yaml:"burst"` // at once, after a pause; 0: as many as requests

	// Who has a budget of their own: any of client, user and hub. A client is an
	// address, of IPv6 a network of 64 bits; a user is who a filter before has
	// found out.
	By []string `yaml:"by,single"`

	Clients int `yaml:"clients"` // budgets at a time; all that find no room share one
}

// Check implements [Checker].
func (o *rateLimiterOptions) Check(reject func(path, format string, args ...any)) {
	if o.Requests < 0 {
		reject("requests", "must be more than 0")
	}
	if o.Burst < 0 {
		reject("burst", "must be 0 or more")
	}
	if o.Per <= 0 || o.Per > 24*time.Hour {
		reject("per", "must be more than 0 and at most 24h")
	} else if o.Requests > 0 && o.Per/time.Duration(o.Requests) == 0 {
		reject("requests", "is more than one in a nanosecond")
	}
	if o.Clients < 1 || o.Clients > 10_000_000 {
		reject("clients", "must be from 1 to 10000000")
	}
	for _, by := range o.By {
		if by != "client" && by != "user" && by != "hub" {
			reject("by", "%q is none of client, user or hub", by)
		}
	}
}

// RateLimiter is the kind that bounds how many requests come in a time. Its
// result is rateLimited.
func RateLimiter() Kind {
	return Define("bounds how many requests a client makes", []Result{{Name: "rateLimited"}},
		rateLimiterOptions{Per: time.Second, By: []string{"client"}, Clients: 65536}, func(o rateLimiterOptions, env Env) (Filter, error) {
			burst := o.Burst
			if burst == 0 {
				burst = o.Requests
			}
			cost := o.Per / time.Duration(o.Requests)
			return &rateLimiter{
				cost: cost, room: cost * time.Duration(burst), most: o.Clients, now: env.Now, begun: env.Now(),
				client: slices.Contains(o.By, "client"), user: slices.Contains(o.By, "user"), hub: slices.Contains(o.By, "hub"),
				spent: map[budget]time.Duration{},
			}, nil
		})
}

// A budget is whose requests are counted together.
type budget struct {
	hub, user string
	addr      netip.Addr
}

// A rateLimiter gives each budget a time at which all of it is there again: a
// request moves that on by its cost, and may not move it further ahead than room
// (the generic cell rate algorithm).
type rateLimiter struct {
	cost, room        time.Duration
	most              int
	client, user, hub bool
	now               func() time.Time
	begun             time.Time // the zero of spent

	mu    sync.Mutex
	spent map[budget]time.Duration // guarded by mu; who has not spent anything is not in it
	swept time.Duration            // guarded by mu
}

func (l *rateLimiter) Handle(_ context.Context, x *Exchange) string {
	var b budget
	if l.client {
		b.addr = x.Request.Client.Addr
		if b.addr.Is6() {
			network, _ := b.addr.Prefix(64)
			b.addr = network.Addr()
		}
	}
	if l.user {
		b.user = x.User
	}
	if l.hub {
		b.hub = x.Hub.Name
	}
	wait := l.take(b, l.now().Sub(l.begun))
	if wait == 0 {
		return ""
	}
	x.Refuse(&exchange.Error{
		Status: http.StatusTooManyRequests, RetryAfter: wait, Reason: "rate",
		Message: "too many requests; try again in " + strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10) + " s",
	})
	return "rateLimited"
}

// take spends one request of a budget. If there is nothing left, it says for how long.
func (l *rateLimiter) take(b budget, now time.Duration) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, known := l.spent[b]
	if !known && len(l.spent) >= l.most && !l.sweep(now) {
		b = budget{hub: "\x00"} // no hub's name
		at = l.spent[b]
	}
	at = max(at, now) + l.cost
	if ahead := at - now; ahead > l.room {
		return ahead - l.room
	}
	l.spent[b] = at
	return 0
}

// sweepEach is how long, for each budget, no other sweep follows one, which looks at
// all of them: some hundred times what that takes.
const sweepEach = 10 * time.Microsecond

// sweep forgets the budgets that are whole again, and reports whether there is
// room now.
func (l *rateLimiter) sweep(now time.Duration) bool {
	if l.swept != 0 && now-l.swept < min(l.room, time.Duration(len(l.spent))*sweepEach) {
		return false
	}
	l.swept = now
	for b, at := range l.spent {
		if at <= now {
			delete(l.spent, b)
		}
	}
	return len(l.spent) < l.most
}

func (l *rateLimiter) Status() any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[string]int{"budgets": len(l.spent)}
}
