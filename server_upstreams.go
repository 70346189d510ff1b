package cacheproxy

import (
	"crypto/tls"
	"os"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// upstreamOptions are those of every line of a hub, apart from what all lines have.
func (s *Server) upstreamOptions(cfg *Config, h *Hub) upstream.Options {
	l := &cfg.Limits
	opts := upstream.Options{
		Race: upstream.Race{
			Mode:    string(h.Race.Mode),
			Width:   h.Race.Width,
			Stagger: time.Duration(h.Race.Stagger),
			Switch:  h.Race.Switch,
			Stripe: upstream.Stripe{
				MinSize: orNone(int64(h.Race.Stripe.MinSize)),
				Part:    int64(h.Race.Stripe.Part),
				Width:   h.Race.Stripe.Width,
			},
			FirstChunk: int64(cfg.Misc.FirstChunkBytes),
			Chunk:      int64(cfg.Misc.ChunkBytes),
		},
		Limits: upstream.Limits{
			Dial:        time.Duration(l.UpstreamDialTimeout),
			TLS:         time.Duration(l.UpstreamTLSTimeout),
			Header:      time.Duration(l.UpstreamHeaderTimeout),
			Idle:        time.Duration(l.UpstreamIdleTimeout),
			MinRate:     orNone(int64(l.UpstreamMinRate)),
			HeaderBytes: int64(l.UpstreamHeaders),
			Redirects:   int(orNone(int64(l.Redirects))),
		},
		Absent:    h.Options.Absent,
		Via:       s.via,
		UserAgent: "cache-proxy/" + s.options.Version,
		Hub:       h.Name,
	}
	for _, rule := range cfg.AllowedUpstreams {
		if rule.Suffix != "" {
			opts.Allowed.Hosts = append(opts.Allowed.Hosts, rule.Suffix)
		} else {
			opts.Allowed.Prefixes = append(opts.Allowed.Prefixes, rule.Prefix)
		}
	}
	return opts
}

// orNone turns the configuration's 0, "none", into upstream's -1.
func orNone(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func newMirror(c *Upstream) (upstream.Mirror, error) {
	m := upstream.Mirror{
		Server:          c.Server.URL,
		Checkers:        make([]upstream.Checker, len(c.Checkers)),
		AllowedRedirect: c.AllowedRedirect.Regexp,
		Username:        c.Username,
		Password:        c.Password.Value(),
		Token:           c.Token.Value(),
		Header:          map[string]string{},
		Proxy:           c.Proxy.URL,
		MaxConnections:  c.MaxConnections,
	}
	m.Path.Match, m.Path.Replace = c.Path.Match.Regexp, c.Path.Replace
	for i, k := range c.Checkers {
		m.Checkers[i].StatusCodes = k.StatusCodes
		for _, h := range k.Headers {
			m.Checkers[i].Headers = append(m.Checkers[i].Headers, upstream.HeaderCheck{Name: h.Name, Match: h.Match.Regexp})
		}
	}
	for _, g := range c.PriorityGroups {
		m.Priorities = append(m.Priorities, upstream.Priority{Match: g.Match.Regexp, Priority: g.Priority})
	}
	for name, value := range c.Headers {
		m.Header[name] = value.Value()
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return m, err
		}
		m.CA = pem
	}
	if c.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return m, err
		}
		m.Certificate = &pair
	}
	return m, nil
}
