package upstream

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/http1"
)

// A pool is the connections to a mirror. Groups that reach it alike share it, one
// after the other, by [Options.Before]; it is closed behind the last of them.
type pool struct {
	reach  reach
	client *http1.Client
	users  atomic.Int64 // groups; 0: closed
}

// reach is how a mirror is reached, as far as its connections tell: equal ones
// may share them. Whether a redirect may lead somewhere is none of it.
type reach struct {
	origin, proxy   string
	ca, certificate string
	connections     int
	dial, tls       time.Duration
	header          time.Duration
	headerBytes     int64
}

func newPool(r reach, c *http1.Client) *pool {
	p := &pool{reach: r, client: c}
	p.users.Store(1)
	return p
}

// reach is that of m.
func (m *mirror) reach() reach {
	l := &m.options.Limits
	r := reach{
		origin: m.origin, ca: string(m.CA), connections: m.MaxConnections,
		dial: l.Dial, tls: l.TLS, header: l.Header, headerBytes: l.HeaderBytes,
	}
	if m.Proxy != nil {
		r.proxy = m.Proxy.String()
	}
	if m.Certificate != nil {
		var all strings.Builder
		for _, der := range m.Certificate.Certificate {
			all.Write(der)
		}
		r.certificate = all.String()
	}
	return r
}

// pool is that of g's for a reach, which gets one more user; nil if there is none.
func (g *Group) pool(r reach) *pool {
	if g == nil {
		return nil
	}
	for _, m := range g.mirrors {
		if p := m.pool; p.reach == r && !m.Learned && p.hold() {
			return p
		}
	}
	return nil
}

// hold adds a user; false if the pool is closed.
func (p *pool) hold() bool {
	for {
		n := p.users.Load()
		if n == 0 {
			return false
		}
		if p.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop is the end of a user.
func (p *pool) drop() {
	if p.users.Add(-1) == 0 {
		p.client.CloseIdleConnections()
	}
}

// inherit gives the mirrors of g what those of an earlier group with the same base
// URLs knew and counted, and g its numbers.
func (g *Group) inherit(before *Group) {
	old := slices.Clone(before.mirrors)
	for _, m := range g.mirrors {
		i := slices.IndexFunc(old, func(o *mirror) bool { return o.base == m.base })
		if i < 0 {
			continue
		}
		o := old[i]
		old = slices.Delete(old, i, i+1)
		o.standing.mu.Lock()
		m.standing.MirrorStats = o.standing.MirrorStats
		o.standing.mu.Unlock()
		m.bytes.Store(o.bytes.Load())
		for e := range m.endings {
			m.endings[e].Store(o.endings[e].Load())
		}
		m.failures.Store(o.failures.Load())
	}
	before.league.mu.Lock()
	g.league.totals, g.league.budget, g.league.size = before.league.totals, before.league.budget, before.league.size
	before.league.mu.Unlock()
}
