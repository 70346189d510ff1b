package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A reason is one thing that decides, or has decided, what a URL is answered with.
type reason struct {
	About string `json:"about"`
	Text  string `json:"text"`
}

func (p *invocation) whyCommand() *cobra.Command {
	server, admin, asJSON := "", "", false
	c := &cobra.Command{
		Use:   "why URL|HUB:/PATH",
		Short: "Say why a URL is answered as it is",
		Long: `Says what decides about a URL: the hub and key, how long the configuration has it fresh,
what is stored, which mirror it came from and how that fares, by what it was found right, what
the server answers to a HEAD request now (which may ask mirrors, as a client's would), whether
it is on its way, how near eviction is, and what the log had of it of late. The data directory
is read in any case; without a server, or its admin listener, the rest is left out.`,
		Example: `  cache-proxy why http://cache.lan:8881/debian/dists/trixie/InRelease
  cache-proxy why /npm/left-pad`,
		Args: between(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.configured()
			if err != nil {
				return err
			}
			w, err := newInquiry(c, args[0])
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			w.rules()
			w.answer(ctx, server, args[0]) // first, since it may change what is stored
			w.stored(ctx)
			w.league()
			w.operators(ctx, admin)
			if asJSON {
				return p.writeJSON(w.found)
			}
			for _, r := range w.found {
				fmt.Fprintf(p.stdout, "%-10s %s\n", r.About, strings.ReplaceAll(r.Text, "\n", "\n           "))
			}
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", "base `URL` of the server; default the first address of listen")
	adminFlag(c, &admin)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

type inquiry struct {
	config  *cacheproxy.Config
	hub     *cacheproxy.Hub
	path    string
	meaning *cacheproxy.Meaning // nil: no URL was given, or its hub cannot read it
	mirrors []string            // that stored content came from
	found   []reason
}

// newInquiry finds the hub and key of an argument. A URL is read as its hub reads it.
func newInquiry(c *cacheproxy.Config, arg string) (*inquiry, error) {
	w := &inquiry{config: c}
	if strings.HasPrefix(arg, "/") || strings.Contains(arg, "://") {
		u, err := url.Parse(arg)
		if err != nil {
			return nil, misused(err)
		}
		m, unread := c.Meaning(u)
		if unread == nil {
			w.hub, w.path, w.meaning = m.Hub, m.Path, m
			return w, nil
		}
		if w.hub, w.path, err = c.Locate(u); err != nil {
			return nil, misused(err)
		}
		w.say("key", "none: %v", unread)
		return w, nil
	}
	name, path, err := selected(c, arg)
	if err != nil {
		return nil, err
	}
	all := c.Served()
	i := slices.IndexFunc(all, func(h cacheproxy.Hub) bool { return h.Name == name })
	if i < 0 || path == "" {
		return nil, misused(fmt.Errorf("%q names no path of a hub", arg))
	}
	w.hub, w.path = &all[i], path
	return w, nil
}

func (w *inquiry) say(about, format string, a ...any) {
	w.found = append(w.found, reason{about, fmt.Sprintf(format, a...)})
}

// rules are what the configuration says.
func (w *inquiry) rules() {
	h := w.hub
	w.say("key", "%s:%s (hub of type %s at %s, race.mode %s)", h.Name, w.path, h.Module(), h.Path, h.Race.Mode)
	if m := w.meaning; m != nil {
		if m.Variant != "" {
			w.say("variant", "%s, for a client that names no preference", m.Variant)
		}
		if m.Package != "" {
			w.say("package", "%s", m.Package)
		}
		if m.Digest != "" {
			w.say("digest", "%s, by the URL itself", m.Digest)
		}
	}
	for i, u := range h.Upstream {
		if u.Path.Match.IsSet() && u.Path.Replace != "" && !u.Path.Match.MatchString(w.path) {
			continue
		}
		priority := 0
		for _, g := range u.PriorityGroups {
			if g.Match.MatchString(w.path) {
				priority = g.Priority
				break
			}
		}
		w.say("asked", "upstream %d, %v, with priority %d", i, u.Server, priority)
	}
	for i, policy := range h.Cache.Policies {
		if policy.Match.MatchString(w.path) {
			w.say("class", "policy %d, %s: fresh for %v", i, short(policy.Match.String()), policy.RefreshAfter)
			return
		}
	}
	if h.Module() == cacheproxy.HubFiles {
		w.say("class", "no policy has it: fresh for cache.timeout, %v", h.Cache.Timeout)
		return
	}
	w.say("class", "no policy has it: the type %s says how long it is fresh", h.Module())
}

// answer is what the server says now.
func (w *inquiry) answer(ctx context.Context, base, arg string) {
	s, err := newServer(w.config, base)
	if err != nil {
		w.say("answer", "not asked: %v", err)
		return
	}
	defer s.close()
	at := arg
	if !strings.HasPrefix(arg, "/") && !strings.Contains(arg, "://") {
		at = strings.TrimSuffix(w.hub.Path, "/") + w.path
	}
	req, err := s.request(ctx, at)
	if err != nil {
		w.say("answer", "not asked: %v", err)
		return
	}
	req.Method = http.MethodHead
	began := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		w.say("answer", "none: %v", err)
		return
	}
	resp.Body.Close()
	w.say("answer", "%d after %v, %s: %s", resp.StatusCode, round(time.Since(began)), cmp.Or(resp.Header.Get("X-Cache"), "no X-Cache"), outcome(resp.Header.Get("Cache-Status")))
	for _, name := range []string{"X-Cache-Upstream", "Age", "Cache-Control", "Etag", "Last-Modified", "Content-Length"} {
		if v := resp.Header.Get(name); v != "" {
			w.say("field", "%s: %s", name, v)
		}
	}
}

// outcome is a Cache-Status in words (RFC 9211).
func outcome(status string) string {
	words := map[string]string{
		"hit": "it was here", "fwd=uri-miss": "it was not here, so mirrors were asked", "fwd=stale": "it was here and not fresh any more, so mirrors were asked",
		"fwd=request": "the request asked for mirrors to be asked", "fwd=bypass": "it is never stored", "stored": "it was stored", "collapsed": "another client's transfer was shared",
		"detail=negative": "a 404 was remembered", "detail=upstream-failed": "no mirror could say", "fwd-status=304": "a mirror said that it has not changed",
	}
	var said []string
	for part := range strings.SplitSeq(status, ";") {
		part = strings.TrimSpace(part)
		if word, ok := words[part]; ok {
			said = append(said, word)
		} else if ttl, ok := strings.CutPrefix(part, "ttl="); ok {
			said = append(said, "fresh for "+ttl+" s more")
		}
	}
	return strings.Join(said, "; ") + " (" + status + ")"
}

// stored is what the data directory has.
func (w *inquiry) stored(ctx context.Context) {
	s, err := cacheproxy.LookAtShelf(w.config)
	if err != nil {
		w.say("stored", "nothing can be read: %v", err)
		return
	}
	defer s.Close()
	n := 0
	for e, err := range s.Entries(ctx, w.hub.Name, w.path) {
		if err != nil {
			w.say("stored", "not all can be read: %v", err)
			return
		}
		if e.Key.Path != w.path {
			continue
		}
		n++
		w.say("stored", "%v: status %d, %s, from %s, stored %s, confirmed %s", e.Key, e.Status, size(float64(e.Size)), cmp.Or(e.Mirror, "nobody: it was put there"), when(e.Stored), when(e.Received))
		switch {
		case e.Proved != "":
			w.say("verified", "content is %s, and what an index said of it: %s", e.Digest, e.Proved)
		case e.Digest != "":
			w.say("verified", "content was %s as it came", e.Digest)
		}
		if e.Mirror != "" {
			w.mirrors = append(w.mirrors, e.Mirror)
		}
	}
	if n == 0 {
		w.say("stored", "nothing")
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}

// league is how the mirrors of what is stored fare.
func (w *inquiry) league() {
	all, err := cacheproxy.Standings(w.config)
	if err != nil {
		return // no server has written any yet
	}
	for _, s := range all {
		for _, m := range s.Mirrors {
			if s.Hub != w.hub.Name || !slices.Contains(w.mirrors, m.Mirror) {
				continue
			}
			w.say("race", "%s has won %d of %d, was asked %d times and failed %d, first byte after %v, %s a second, breaker %s", m.Mirror, m.Wins, s.Requests, m.Requests, m.Failed, round(m.First), size(m.Rate), m.Breaker)
		}
	}
}

// operators is what the admin listener knows.
func (w *inquiry) operators(ctx context.Context, base string) {
	o, err := newOperator(w.config, base)
	if err != nil {
		w.say("server", "not asked: %v", err)
		return
	}
	g, err := o.glance(ctx)
	if err != nil {
		w.say("server", "not asked: %v", err)
		return
	}
	for _, f := range g.Flights {
		if f.Hub == w.hub.Name && f.Path == w.path {
			w.say("transfer", "%s of %s from %s, %s a second, for %d clients", size(float64(f.Bytes)), known(f.Total), orNone(f.Mirror), size(float64(f.Rate)), f.Clients)
		}
	}
	st := g.Status.Store
	w.say("eviction", "the store has %s of %s, %s free; %d went to make room so far", size(float64(st.Bytes)), bound(st.MaxSize), size(float64(st.Free)), st.Evictions)
	var pins []struct{ Hub, Path string }
	if err := o.ask(ctx, http.MethodGet, "/api/v1/pins", nil, &pins); err == nil {
		for _, pin := range pins {
			if pin.Hub == w.hub.Name && pin.Path == w.path {
				w.say("eviction", "it is pinned, and never goes")
			}
		}
	}
	var recent []struct {
		Time       time.Time
		Message    string
		Attributes map[string]string
	}
	if err := o.ask(ctx, http.MethodGet, "/api/v1/errors", url.Values{}, &recent); err != nil {
		w.say("log", "not asked: %v", err)
		return
	}
	for _, r := range recent {
		if r.Attributes["key"] == w.hub.Name+":"+w.path {
			w.say("log", "%s %s: %s", when(r.Time), r.Message, r.Attributes["err"])
		}
	}
}
