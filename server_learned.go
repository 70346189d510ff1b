package cacheproxy

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// redirects is where the mirrors of a hub may lead, all of them together; nil: anywhere.
func redirects(c *Hub) *regexp.Regexp {
	var all []string
	for _, u := range c.Upstream {
		if u.AllowedRedirect.Regexp == nil {
			return nil
		}
		all = append(all, "(?:"+u.AllowedRedirect.String()+")")
	}
	if len(all) == 0 {
		return nil
	}
	return regexp.MustCompile(strings.Join(all, "|")) // each was compiled before
}

// admits says whether a link that an index has may be followed.
func (m *mounted) admits(link *url.URL) bool {
	return m.redirects == nil || m.redirects.MatchString(link.String())
}

// second asks a host that the hub's indexes taught.
func (m *mounted) second(ctx context.Context, req *exchange.Request, base *url.URL) (*exchange.Response, error) {
	link, err := url.Parse(strings.TrimSuffix(base.String(), "/") + req.Target)
	if err != nil || !m.admits(link) {
		return nil, fmt.Errorf("%s%s is none of the mirrors': %w", base, req.Target, fs.ErrNotExist)
	}
	main := m.lines[0]
	if !main.hold() {
		return nil, &exchange.Error{Status: http.StatusServiceUnavailable, Message: "the hub is being closed"}
	}
	defer main.drop()
	l, err := main.learned(req.Origin, base, m.redirects)
	if err != nil {
		return nil, err
	}
	return l.Get(ctx, req)
}

// learned is the line of a host that l's indexes taught; l is held.
func (l *line) learned(alias string, base *url.URL, redirects *regexp.Regexp) (*line, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.second[alias]; known != nil {
		return known, nil
	}
	want := wanted{Options: l.wanted.Options, origin: alias, perMirror: l.perMirror}
	want.Mirrors = []upstream.Mirror{{Server: base, Learned: true, AllowedRedirect: redirects}}
	second, err := l.server.line(want, nil)
	if err != nil {
		return nil, fmt.Errorf("second host %s: %w", base, err)
	}
	if l.second == nil {
		l.second = map[string]*line{}
	}
	l.second[alias] = second
	return second, nil
}
