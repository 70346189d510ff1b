package cacheproxy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
)

// match finds what a request is for: the proxy's own pages, whatever the Host,
// or a hub. It is no [http.ServeMux], which would clean paths that clients mean
// as they are.
func (s *Server) match(of *revision, t *routes) func(*http.Request, *handlerctx.Record) {
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.own(w, r, of) })
	find := func(r *http.Request, rec *handlerctx.Record) {
		rec.Pattern, rec.URL = "GET /", r.URL
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, ownPrefix):
			rec.Pattern, rec.Handler = "GET "+ownPrefix, own
		case of.tls != nil && of.tls.challenges != nil && r.TLS == nil && strings.HasPrefix(path, challengePath):
			rec.Handler = of.tls.challenges
		default:
			var to *target
			if to, rec.Handler, rec.URL = t.find(r); to != nil {
				h := to.mounted.config
				rec.Hub, rec.Module, rec.Rollout = h.Name, string(h.Module()), string(h.Rollout)
			}
		}
	}
	forward := s.forwarding(of.config)
	return func(r *http.Request, rec *handlerctx.Record) {
		if forward == nil || !forward.match(r, rec, find) {
			find(r, rec)
		}
	}
}

// handlerPanic is what the log says of a request whose handler panicked, beside
// hub, module and request: the panic itself is logged where those are not known.
const handlerPanic = "module_handler_panic"

// dispatch hands a request to what match found.
func dispatch(w http.ResponseWriter, r *http.Request) {
	rec := handlerctx.From(r.Context())
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler && rec.Hub != "" {
				rec.Error = handlerPanic
			}
			panic(p)
		}
	}()
	if rec.URL != r.URL {
		below := *r
		below.URL = rec.URL
		r = &below
	}
	rec.Handler.ServeHTTP(w, r)
}

// attributes are what the log says of a request beside the HTTP of it.
func attributes(to []slog.Attr, r *http.Request, finished bool) []slog.Attr {
	rec := handlerctx.From(r.Context())
	to = append(to, slog.String("request_id", rec.ID))
	if rec.Error != "" {
		to = append(to, slog.String("error", rec.Error))
	}
	if rec.Hub == "" {
		return to
	}
	to = append(to, slog.String("action", "proxy"), slog.String("hub", rec.Hub),
		slog.String("module_key", rec.Module), slog.String("rollout_flag", rec.Rollout))
	if finished {
		to = append(to, slog.Bool("cache_hit", rec.CacheHit), slog.Int("upstream_status", rec.UpstreamStatus))
	}
	return to
}

// note puts what the log says of an answer into the request's record.
func note(ctx context.Context, resp *exchange.Response) {
	rec, o := handlerctx.From(ctx), resp.Outcome
	rec.CacheHit = o.Hit
	switch {
	case o.Hit:
	case o.FwdStatus != 0:
		rec.UpstreamStatus = o.FwdStatus
	case !o.Stale:
		rec.UpstreamStatus = resp.Entry.Status
	}
}

// A target is a hub as requests reach it.
type target struct {
	mounted *mounted
	byPath  http.Handler // of requests below the mount, which is not part of their path
	byHost  http.Handler // of requests whose Host says it all
	foreign http.Handler // of requests for registries that no hub has; nil if this is none
}

// target makes the handlers of a hub. Between the edge and what is mounted is its
// flow; where that is to see each request, no answer is kept ready before it.
func (s *Server) target(cfg *Config, m *mounted, table *front.Table, flow *filter.Flow) *target {
	options := s.edge(cfg)
	options.Hub, options.Source, options.Note = m.hub, flow.Wrap(s.filtered(m), m.source), note
	options.Counter = s.operators.counts.Hub(m.config.Name)
	if table != nil && !flow.Observes() {
		options.Hot = s.newHot(cfg, m, table, options.Counter)
	}
	options.Poster, _ = m.module.(hub.Poster)
	options.Refuser, _ = m.module.(hub.Refuser)
	options.Carrier, _ = m.module.(hub.Carrier)
	byHost := options
	if options.Mount = strings.TrimSuffix(m.config.Path, "/"); cfg.PublicURL.IsSet() {
		// The one host that everybody can reach is not the hub's own, so there its
		// mount leads to it, whatever way this request came.
		options.Base = cfg.PublicURL.URL.String() + options.Mount
		byHost.Base = options.Base
	}
	to := &target{mounted: m, byPath: preflighting(flow, edge.New(options)), byHost: preflighting(flow, edge.New(byHost))}
	if m.config.Module() == HubOCI {
		to.foreign = refusing(options)
	}
	return to
}

// edge is what all edges have.
func (s *Server) edge(cfg *Config) edge.Options {
	return edge.Options{
		Name:           "cache-proxy",
		Via:            s.via,
		Accel:          edge.Accel{Header: cfg.Storage.Local.Accel.EnableByHeader, Respond: cfg.Storage.Local.Accel.RespondWithHeaders, Trusted: prefixes(cfg.Storage.Local.Accel.Trusted)},
		TrustedProxies: prefixes(cfg.TrustedProxies),
		Limits: edge.Limits{
			Target: int(cfg.Limits.RequestLine),
			Fields: cfg.Limits.RequestFields,
			Ranges: cfg.Limits.Ranges,
		},
		WriteTimeout: time.Duration(cfg.Limits.ClientWriteTimeout),
		MinRate:      int64(cfg.Limits.ClientMinRate),
		Log:          s.log,
		Now:          s.options.Now,
	}
}

// hostUnmapped says that there are hubs by Host, and this is not the Host of any.
const hostUnmapped = "host_unmapped"

// nowhere answers what no hub serves.
func (s *Server) nowhere(cfg *Config) http.Handler {
	options := s.edge(cfg)
	word := "path_unmapped"
	for i := range cfg.Hubs {
		if len(cfg.Hubs[i].Hosts) > 0 {
			word = hostUnmapped
		}
	}
	options.Hub, options.Source = unmapped(word), unmapped(word)
	options.Counter = s.operators.counts.Hub("")
	unserved := edge.New(options)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlerctx.From(r.Context()).Error = word
		if word == hostUnmapped {
			w.Header().Set("X-Unmapped-Host", r.Host)
		}
		unserved.ServeHTTP(w, r)
	})
}

// unmapped is the hub of requests that are none's. Its text is the reason.
type unmapped string

func (u unmapped) Parse(r *http.Request) (*exchange.Request, error) {
	return nil, &exchange.Error{Status: http.StatusNotFound, Message: string(u)}
}

func (u unmapped) Rewrite(next exchange.Source) exchange.Source { return next }

// Get is not reached, since nothing parses.
func (u unmapped) Get(context.Context, *exchange.Request) (*exchange.Response, error) {
	return nil, &exchange.Error{Status: http.StatusNotFound, Message: string(u)}
}

// Refusal is {"error":"host_unmapped"}.
func (u unmapped) Refusal(_ int, message string) (contentType string, body []byte) {
	body, _ = json.Marshal(map[string]string{"error": message})
	return "application/json", append(body, '\n')
}

// routes find the hub of a request: by its Host, else by the longest mount that
// its path is below, else the default hub. They do not change once requests come.
type routes struct {
	hosts    map[string]*target
	mounts   map[string][]mountPoint // by first segment, longest first
	oci      registries
	standard *target      // at "/"; nil if there is none
	none     http.Handler // of what nobody serves
}

type mountPoint struct {
	segments []string
	*target
}

func (t *routes) add(to *target) {
	if t.hosts == nil {
		t.hosts, t.mounts = map[string]*target{}, map[string][]mountPoint{}
	}
	t.oci.add(to)
	h := to.mounted.config
	for _, host := range h.Hosts {
		t.hosts[host] = to
	}
	if h.Path == "/" {
		t.standard = to
		return
	}
	segments := strings.Split(strings.TrimPrefix(h.Path, "/"), "/")
	first := append(t.mounts[segments[0]], mountPoint{segments, to})
	slices.SortStableFunc(first, func(a, b mountPoint) int { return len(b.segments) - len(a.segments) })
	t.mounts[segments[0]] = first
}

// find is who answers r, and the URL as it sees it. to is nil if nobody does.
func (t *routes) find(r *http.Request) (to *target, h http.Handler, u *url.URL) {
	if len(t.hosts) > 0 {
		if to := t.hosts[hostName(r.Host)]; to != nil {
			return to, to.byHost, r.URL
		}
	}
	if len(t.mounts) > 0 {
		path, escaped := r.URL.Path, r.URL.RawPath != ""
		if escaped {
			path = r.URL.RawPath
		}
		first, _, ok := nextSegment(path, escaped)
		if ok {
			for _, m := range t.mounts[first] {
				if rest, ok := below(path, escaped, m.segments); ok {
					return m.target, m.byPath, stripped(r.URL, rest, escaped)
				}
			}
		}
	}
	if to, u, ok := t.oci.find(r); to != nil {
		return to, to.byPath, u
	} else if ok {
		return nil, t.oci.first.foreign, u
	}
	if t.standard != nil {
		return t.standard, t.standard.byPath, r.URL
	}
	return nil, t.none, r.URL
}

// hostName is a Host without its port and the dot of an absolute name, in lower case.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host[1:], "]")
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// nextSegment takes the first segment off path, which is decoded, or escaped if
// it says so; then a slash that is escaped ends no segment. Like [hub.Path] it
// passes over empty segments and ".", or the default hub could be asked for a
// path that reads as another's.
func nextSegment(path string, escaped bool) (segment, rest string, ok bool) {
	for strings.HasPrefix(path, "/") {
		path = path[1:]
		segment, rest = path, ""
		if i := strings.IndexByte(path, '/'); i >= 0 {
			segment, rest = path[:i], path[i:]
		}
		if escaped && strings.IndexByte(segment, '%') >= 0 {
			decoded, err := url.PathUnescape(segment)
			if err != nil {
				return "", "", false
			}
			segment = decoded
		}
		if segment != "" && segment != "." {
			return segment, rest, true
		}
		path = rest
	}
	return "", "", false
}

// below is what of path comes after segments; ok says that it begins with them.
func below(path string, escaped bool, segments []string) (rest string, ok bool) {
	for _, want := range segments {
		var segment string
		if segment, path, ok = nextSegment(path, escaped); !ok || segment != want {
			return "", false
		}
	}
	if path == "" {
		path = "/" // the mount itself, without its slash
	}
	return path, true
}

// stripped is u with another path.
func stripped(u *url.URL, path string, escaped bool) *url.URL {
	c := *u
	c.Path, c.RawPath = path, ""
	if escaped {
		c.Path, _ = url.PathUnescape(path) // net/url has parsed it before
		c.RawPath = path
	}
	return &c
}
