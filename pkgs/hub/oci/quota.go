package oci

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Quota is how much more a registry lets itself be asked, as it has last said: the
// fields RateLimit-Limit and RateLimit-Remaining, in the form "100;w=21600" that
// large registries send.
type Quota struct {
	Mirror    string    `json:"mirror"` // its base URL
	Limit     int64     `json:"limit"`  // requests in a window
	Remaining int64     `json:"remaining"`
	Window    int64     `json:"window_seconds,omitempty"` // 0: it did not say
	Seen      time.Time `json:"seen"`
}

// Low says whether a tenth or less is left.
func (q Quota) Low() bool { return q.Limit > 0 && q.Remaining <= q.Limit/10 }

const (
	limitField     = "Ratelimit-Limit"
	remainingField = "Ratelimit-Remaining"
)

// readQuota is the quota in a response's fields.
func readQuota(h http.Header) (q Quota, ok bool) {
	limit, window, ok := readRate(h.Get(limitField))
	if !ok {
		return q, false
	}
	remaining, _, ok := readRate(h.Get(remainingField))
	return Quota{Limit: limit, Remaining: remaining, Window: window}, ok && limit > 0
}

// readRate reads "100;w=21600"; the parameter may be missing.
func readRate(field string) (n, window int64, ok bool) {
	number, parameters, _ := strings.Cut(field, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 {
		return 0, 0, false
	}
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.TrimSpace(name) != "w" {
			continue
		}
		if w, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && w > 0 {
			window = w
		}
	}
	return n, window, true
}

// quotas are those of a hub's mirrors. The zero value is ready.
type quotas struct {
	mu    sync.Mutex
	known map[string]Quota // guarded by mu, by mirror
}

const maxQuotas = 1000 // mirrors; far more than a hub has

// see notes what a response says, and returns it.
func (s *quotas) see(mirror string, h http.Header, now time.Time) (Quota, bool) {
	q, ok := readQuota(h)
	if !ok {
		return q, false
	}
	q.Mirror, q.Seen = mirror, now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxQuotas {
		s.known = map[string]Quota{}
	}
	s.known[mirror] = q
	return q, true
}

// Quotas are what the mirrors have last said of how much more they may be asked, of
// those that did, in no order.
func (h *Hub) Quotas() []Quota {
	h.quotas.mu.Lock()
	defer h.quotas.mu.Unlock()
	all := make([]Quota, 0, len(h.quotas.known))
	for _, q := range h.quotas.known {
		all = append(all, q)
	}
	return all
}
