package oci

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// A turn is which of several accounts is used: one until it may hardly be asked for
// any more, then the next that may. Account 0 is the request's own. It is safe for
// concurrent use; without accounts it is never asked.
type turn struct {
	accounts []string // Authorization fields of accounts 1, 2, ...

	mu    sync.Mutex
	at    int           // guarded by mu, like what follows
	spent map[int]spent // by account: those that are low
}

// spent is an account that is low.
type spent struct {
	quota Quota
	until time.Time // then it may have recovered
}

// How long an account is left alone that says nothing of its window.
const defaultWindow = time.Hour

// of is the Authorization field of an account.
func (t *turn) of(account int, own string) string {
	if account == 0 {
		return own
	}
	return t.accounts[account-1]
}

// take is the account to use now: the one of before while it is not low, else the
// next that is not, else the one with the most left.
func (t *turn) take(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	best := t.at
	for n := range len(t.accounts) + 1 {
		account := (t.at + n) % (len(t.accounts) + 1)
		s, low := t.spent[account]
		if !low || !now.Before(s.until) {
			delete(t.spent, account)
			t.at = account
			return account
		}
		if s.quota.Remaining > t.spent[best].quota.Remaining {
			best = account
		}
	}
	t.at = best
	return best
}

// heard notes what a response to an account's request says of its quota. again says
// that it was refused for that, and that there is another account to ask for; else
// the response's fields go where another account's turn is next, of which they say
// nothing.
func (t *turn) heard(account int, res *http.Response, now time.Time) (again bool) {
	q, ok := readQuota(res.Header)
	refused := res.StatusCode == http.StatusTooManyRequests
	if refused {
		q.Remaining = 0
	}
	if refused || ok && q.Low() {
		window := time.Duration(q.Window) * time.Second
		if window <= 0 {
			window = defaultWindow
		}
		t.mu.Lock()
		if t.spent == nil {
			t.spent = map[int]spent{}
		}
		t.spent[account] = spent{q, now.Add(window)}
		t.mu.Unlock()
	}
	next := t.take(now)
	if next == account {
		return false
	}
	t.mu.Lock()
	s, low := t.spent[next]
	t.mu.Unlock()
	if refused {
		return !low || s.quota.Remaining > 0
	}
	if low { // so that what this account says holds for all
		return false
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "Ratelimit-") {
			delete(res.Header, name)
		}
	}
	return false
}
