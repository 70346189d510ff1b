package upstream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/http1"
)

// sick is how many transport failures in a row make a mirror unhealthy. Then it
// is still asked, but does not veto what the others agree on.
const sick = 3

// A mirror is one base URL: how paths map to it, how it is asked, what it must
// answer, and how it fares.
type mirror struct {
	Mirror
	options *Options
	index   int    // in the operator's order
	base    string // without credentials and trailing slash
	scheme  string
	host    string // as in URLs
	origin  string // scheme, host and port in full
	prefix  string // escaped base path, without a trailing slash

	header   http.Header // sent to the mirror itself, never elsewhere; canonical names
	statuses []int       // of good answers
	fields   []HeaderCheck

	guard  *guard
	dialer http1.Dialer      // of pool, if it was made here: dial, but in tests
	pool   *pool             // own's
	own    http.RoundTripper // to the mirror itself
	away   *http.Transport   // where redirects lead: knows no credentials
	home   http.RoundTripper // own, or what Wrap makes of it

	league   *league
	standing standing
	bytes    atomic.Int64 // of bodies
	endings  [endings]atomic.Int64
	failures atomic.Int64 // of the transport, in a row
	warned   atomic.Int64 // when people were last told to look, in Unix seconds
}

func newMirror(index int, o *Options, g *guard) (*mirror, error) {
	m := &mirror{Mirror: o.Mirrors[index], options: o, index: index, guard: g}
	u := m.Server
	switch {
	case u == nil:
		return nil, errors.New("no server")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("server %s: want http:// or https:// and a host", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("server %s: a base URL has neither query nor fragment", u.Redacted())
	}
	m.scheme, m.host, m.origin = u.Scheme, u.Host, originOf(u)
	m.prefix = strings.TrimRight(collapse(u.EscapedPath()), "/")
	m.base = m.scheme + "://" + m.host + m.prefix

	for _, c := range m.Checkers {
		m.statuses = append(m.statuses, c.StatusCodes...)
		m.fields = append(m.fields, c.Headers...)
	}
	if m.statuses == nil {
		m.statuses = []int{http.StatusOK}
	}
	m.header = make(http.Header)
	for name, value := range m.Header {
		m.header.Set(name, value)
	}
	username, password := m.Username, m.Password
	if username == "" && u.User != nil {
		username = u.User.Username()
		password, _ = u.User.Password()
	}
	switch {
	case username != "":
		m.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
	case m.Token != "":
		m.header.Set("Authorization", "Bearer "+m.Token)
	}
	return m, m.connect()
}

// locate is the URL of a path here; nil if the mirror does not have it. The
// canonical spelling of the path decides; the client's own one is what the
// mirror is asked for, if the mapping has a place for it. Both are escaped.
func (m *mirror) locate(canonical, spelled, query string) *url.URL {
	path := spelled
	if match := m.Path.Match; match != nil && m.Path.Replace != "" && match.String() != "" {
		if !match.MatchString(canonical) {
			return nil
		}
		if !match.MatchString(spelled) {
			path = canonical
		}
		path = match.ReplaceAllString(path, m.Path.Replace)
	}
	raw := m.prefix + "/" + strings.TrimLeft(collapse(path), "/")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return nil
	}
	return &url.URL{Scheme: m.scheme, Host: m.host, Path: decoded, RawPath: raw, RawQuery: query}
}

// collapse takes empty and "." segments out of an escaped path. A trailing slash stays.
func collapse(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	for strings.Contains(path, "/./") {
		path = strings.ReplaceAll(path, "/./", "/")
	}
	return path
}

// originOf is scheme, host and port (RFC 9110 §4.3.1), the port always in full.
func originOf(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

// priority ranks the mirror for a path.
func (m *mirror) priority(path string) int {
	for _, p := range m.Priorities {
		if p.Match == nil || p.Match.MatchString(path) {
			return p.Priority
		}
	}
	return 0
}

// check says what keeps a final answer from being good; nil if it is.
func (m *mirror) check(status int, header http.Header) error {
	if !slices.Contains(m.statuses, status) {
		return fmt.Errorf("status %d", status)
	}
	return m.checkFields(header)
}

func (m *mirror) checkFields(header http.Header) error {
	for _, f := range m.fields {
		values := header.Values(f.Name)
		if len(values) == 0 {
			return fmt.Errorf("missing header %s", f.Name)
		}
		if f.Match != nil && !slices.ContainsFunc(values, f.Match.MatchString) {
			return fmt.Errorf("invalid header value: %s: %.200q does not match %s", f.Name, values, f.Match)
		}
	}
	return nil
}

// requestHeader is what a request carries. Credentials go to the mirror itself only.
func (m *mirror) requestHeader(req *exchange.Request, self bool) http.Header {
	h := make(http.Header, len(req.Header)+len(m.header)+5)
	for name, values := range req.Header {
		if !hopByHop(name) && name != "Host" {
			h[name] = values
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{m.options.UserAgent} // an empty one keeps net/http's away
	}
	if _, ok := h["Accept-Encoding"]; !ok {
		h["Accept-Encoding"] = []string{"identity"}
	}
	if m.options.Via != "" {
		h["Via"] = via(req.Client.Header["Via"], m.options.Via)
	}
	if v := req.Validate; v != nil {
		if etag := v.Header.Get("Etag"); etag != "" {
			h["If-None-Match"] = []string{etag}
		}
		if date := v.Header.Get("Last-Modified"); date != "" {
			h["If-Modified-Since"] = []string{date}
		}
	}
	if self {
		maps.Copy(h, m.header)
	}
	return h
}

// maxVia is how many bytes of Via are passed on.
const maxVia = 2 << 10

// via is the Via of a request: that of the client whose request it is, and self (RFC
// 9110 §7.6.3), so that a loop over several is seen, too. A longer one is begun anew.
func via(client []string, self string) []string {
	length := 0
	for _, line := range client {
		length += len(line)
	}
	if length > maxVia {
		client = nil
	}
	return append(slices.Clip(client), "1.1 "+self)
}

// concern is the level of something that a person should look at, but not once a request.
func (m *mirror) concern() slog.Level {
	now, last := time.Now().Unix(), m.warned.Load()
	if now-last >= 60 && m.warned.CompareAndSwap(last, now) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// alive notes an answer, whatever it says.
func (m *mirror) alive() {
	if m.failures.Load() != 0 && m.failures.Swap(0) >= sick {
		m.options.Log.Info("mirror answers again", slog.String("hub", m.options.Hub), slog.String("mirror", m.base))
	}
}

// dead notes a failure of the transport.
func (m *mirror) dead(err error) {
	change := Record.failed
	if nameless := (*net.DNSError)(nil); errors.As(err, &nameless) {
		change = Record.nameless
	}
	m.lapsed(err, change)
	if m.failures.Add(1) == sick {
		m.options.Log.Warn("mirror is failing",
			slog.String("hub", m.options.Hub), slog.String("mirror", m.base), slog.Any("err", err))
	}
}

// lapsed notes and counts a failure.
func (m *mirror) lapsed(err error, change func(r Record, now time.Time, witness bool) Record) {
	now := time.Now()
	witness := m.league.witness(m)
	m.standing.note(func(r Record) Record { return change(r, now, witness) })
	m.standing.count(func(s *MirrorStats) {
		s.Failed++
		s.Error, s.ErrorAt = err.Error(), now
	})
}

func (m *mirror) healthy() bool { return m.failures.Load() < sick }
