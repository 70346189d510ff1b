package cacheproxy

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// check notes what is wrong with values that are right one by one, and brings
// those with two spellings into one.
func (d *decoder) check(c *Config) {
	if len(c.Listen) == 0 {
		d.reject("listen", "required, but empty")
	}
	for i, a := range c.Listen {
		if slices.Contains(c.Listen[:i], a) {
			d.reject(fmt.Sprintf("listen[%d]", i), "%v is listed twice", a)
		}
	}
	for i := range c.Upstream {
		d.upstream(fmt.Sprintf("upstream[%d]", i), &c.Upstream[i])
	}
	d.accounts("", &Hub{Type: HubFiles, Upstream: c.Upstream})
	d.members("", &Hub{Name: defaultHub, Type: HubFiles, Rollout: RolloutLegacyOnly, Upstream: c.Upstream})
	if len(c.Upstream) == 0 && len(c.Hubs) == 0 {
		d.warn("upstream", "no upstream: nothing can be fetched")
	}
	d.tls(c)
	d.forward(c)
	d.public(c)
	d.hubs(c)
	d.flows(c)
	if c.Misc.FirstChunkBytes <= 0 {
		d.reject("misc.first-chunk-bytes", "must be more than 0")
	}
	if c.Misc.ChunkBytes <= 0 {
		d.reject("misc.chunk-bytes", "must be more than 0")
	}
	d.race("race", &c.Race)
	d.local("storage.local", &c.Storage.Local)
	d.limits(&c.Limits)
	d.admin(c)
	d.statusFile(&c.StatusFile)
	d.apart(c)
	d.traces(&c.Traces)
	if dsn := c.Sentry.DSN; dsn.IsSet() {
		u, err := url.Parse(dsn.Value())
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
			d.reject("sentry.dsn", "no DSN such as https://KEY@sentry.example.org/1")
		}
	}
}

func (d *decoder) reject(path, format string, args ...any) {
	d.problem(d.line(path), path, format, args...)
}

func (d *decoder) warn(path, format string, args ...any) {
	d.warnings = append(d.warnings, Warning{Line: d.line(path), Path: path, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) race(at string, r *Race) {
	if r.Width < 1 {
		d.reject(at+".width", "must be at least 1")
	}
	if r.Stagger <= 0 || r.Stagger == Never {
		d.reject(at+".stagger", "must be more than 0, and end")
	}
	if r.Stripe.MinSize < 0 {
		d.reject(at+".stripe.min-size", "must not be negative")
	}
	if r.Stripe.Part < 64<<10 {
		d.reject(at+".stripe.part", "must be at least 64KiB")
	}
	if r.Stripe.Width < 2 {
		d.reject(at+".stripe.width", "must be at least 2")
	}
}

func (d *decoder) upstream(at string, u *Upstream) {
	if u.Server.IsSet() {
		d.server(at, u)
	}
	d.path(at+".path", &u.Path)
	if len(u.Checkers) == 0 {
		u.Checkers = []Checker{{}}
	}
	for i := range u.Checkers {
		d.checker(at+".checkers", i, &u.Checkers[i])
	}
	if u.Username == "" && u.Password.IsSet() {
		d.reject(at+".password", "without username")
	}
	if u.Username != "" && u.Token.IsSet() {
		d.reject(at+".token", "not together with username")
	}
	if strings.ContainsAny(u.Token.Value(), " \t\r\n") {
		d.reject(at+".token", "has white space in it")
	}
	d.fields(at, u)
	if u.Proxy.IsSet() && !slices.Contains([]string{"http", "https", "socks5"}, u.Proxy.Scheme) {
		d.reject(at+".proxy", "scheme %q is none of http, https or socks5", u.Proxy.Scheme)
	}
	if (u.ClientCert == "") != (u.ClientKey == "") {
		d.reject(at+".client-cert", "client-cert and client-key need each other")
	}
	d.file(at+".ca", u.CA, false)
	d.file(at+".client-cert", u.ClientCert, false)
	d.file(at+".client-key", u.ClientKey, true)
	if u.MaxConnections < 1 {
		d.reject(at+".max-connections", "must be 1 or more")
	}
}

// file checks that name, unless it is "", is a file.
func (d *decoder) file(at, name string, secret bool) {
	if name == "" {
		return
	}
	stat, err := os.Stat(name)
	switch {
	case err != nil:
		d.reject(at, "%v", err)
	case !stat.Mode().IsRegular():
		d.reject(at, "%s is no regular file", name)
	case secret && stat.Mode().Perm()&0o004 != 0:
		d.reject(at, "%s is readable by everyone (mode %04o); run chmod o-r on it", name, stat.Mode().Perm())
	}
}

// server checks the base URL and takes the credentials out of it.
func (d *decoder) server(at string, u *Upstream) {
	if u.Server.Scheme != "http" && u.Server.Scheme != "https" {
		d.reject(at+".server", "scheme %q is neither http nor https", u.Server.Scheme)
	}
	user := u.Server.User
	if user == nil {
		return
	}
	base := *u.Server.URL
	base.User = nil
	u.Server = URL{&base}
	if u.Username != "" || u.Token.IsSet() {
		d.reject(at+".server", "has credentials, and so have username or token")
		return
	}
	password, _ := user.Password()
	u.Username, u.Password = user.Username(), Secret{value: password}
}

// path expands the environment's variables in the template: those that are no
// groups of the expression, which the decoder cannot know.
func (d *decoder) path(at string, p *Path) {
	groups := []string{}
	if p.Match.IsSet() {
		groups = p.Match.SubexpNames()
	}
	isGroup := func(name string) bool {
		n, err := strconv.Atoi(name)
		return err == nil && n < len(groups) || err != nil && slices.Contains(groups, name)
	}
	expanded, err := expand(p.Replace, isGroup)
	if err != nil {
		d.reject(at+".replace", "%v, and match has no group of that name", err)
		return
	}
	p.Replace = expanded
	if !p.Match.IsSet() || p.Replace == "" {
		if p.Match.IsSet() || p.Replace != "" {
			d.warn(at, "match or replace is empty, so that every path is asked for, unchanged")
		}
		return
	}
	for _, name := range references(p.Replace) {
		if !isGroup(name) {
			d.warn(at+".replace", "match has no group %s, so $%s is empty; ${1}x is group 1 and an x", name, name)
		}
	}
}

// references are the groups that a template names, by the rules of [regexp.Regexp.Expand].
func references(template string) []string {
	var all []string
	for {
		_, rest, ok := strings.Cut(template, "$")
		if !ok {
			return all
		}
		template = rest
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			template = after
			continue
		}
		name := rest
		if inner, ok := strings.CutPrefix(rest, "{"); ok {
			name, _, _ = strings.Cut(inner, "}")
		} else if end := strings.IndexFunc(rest, func(r rune) bool { return !isVariable("_" + string(r)) }); end >= 0 {
			name = rest[:end]
		}
		if isVariable("_"+name) && name != "" {
			all = append(all, name)
		}
	}
}

func (d *decoder) checker(at string, i int, c *Checker) {
	if listed := fmt.Sprintf("%s[%d]", at, i); d.lines[listed] != 0 {
		at = listed
	}
	if len(c.StatusCodes) == 0 {
		c.StatusCodes = []int{http.StatusOK}
	}
	for j, code := range c.StatusCodes {
		if code < 200 || code > 599 {
			d.reject(fmt.Sprintf("%s.status-codes[%d]", at, j), "%d is no status code from 200 to 599", code)
		}
	}
	for j, h := range c.Headers {
		if h.Name != "" && !isToken(h.Name) {
			d.reject(fmt.Sprintf("%s.headers[%d].name", at, j), "%q is no field name", h.Name)
		}
	}
}

// fields checks the further fields of requests to u and brings their names into
// canonical form.
func (d *decoder) fields(at string, u *Upstream) {
	if u.Headers == nil {
		return
	}
	canonical := make(map[string]Secret, len(u.Headers))
	for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
		value := u.Headers[name]
		at := join(at+".headers", name)
		key := textproto.CanonicalMIMEHeaderKey(name)
		switch _, twice := canonical[key]; {
		case !isToken(name):
			d.reject(at, "%q is no field name", name)
		case twice:
			d.reject(at, "%s is set twice", key)
		case key == "Authorization" && (u.Username != "" || u.Token.IsSet()):
			d.reject(at, "not together with username or token")
		case slices.Contains([]string{"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection",
			"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Accept-Encoding", "Range", "If-Range", "If-Match",
			"If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}, key):
			d.reject(at, "%s is set by the proxy itself", key)
		case strings.ContainsFunc(value.Value(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			d.reject(at, "the value has control characters in it")
		}
		canonical[key] = value
	}
	u.Headers = canonical
}

func (d *decoder) local(at string, l *LocalStorage) {
	if l.Path == "" {
		d.reject(at+".path", "required, but empty")
	}
	if l.TemporaryFilePattern == "" || strings.ContainsAny(l.TemporaryFilePattern, "/\x00") {
		d.reject(at+".temporary-file-pattern", "%q is no name of a file", l.TemporaryFilePattern)
	}
	if l.MinFree.Percent >= 100 {
		d.reject(at+".min-free", "leaves nothing to store in")
	}
	if name := l.Accel.EnableByHeader; name != "" && !isToken(name) {
		d.reject(at+".accel.enable-by-header", "%q is no field name", name)
	}
	if l.Accel.EnableByHeader != "" && len(l.Accel.RespondWithHeaders) == 0 {
		d.reject(at+".accel.respond-with-headers", "required, but empty")
	}
	for i, name := range l.Accel.RespondWithHeaders {
		if !isToken(name) {
			d.reject(fmt.Sprintf("%s.accel.respond-with-headers[%d]", at, i), "%q is no field name", name)
		}
	}
}

func (d *decoder) limits(l *Limits) {
	for _, t := range []struct {
		key string
		Duration
	}{
		{"client-header-timeout", l.ClientHeaderTimeout},
		{"client-idle-timeout", l.ClientIdleTimeout},
		{"client-write-timeout", l.ClientWriteTimeout},
		{"upstream-dial-timeout", l.UpstreamDialTimeout},
		{"upstream-tls-timeout", l.UpstreamTLSTimeout},
		{"upstream-header-timeout", l.UpstreamHeaderTimeout},
		{"upstream-idle-timeout", l.UpstreamIdleTimeout},
		{"drain", l.Drain},
		{"upgrade", l.Upgrade},
	} {
		if t.Duration <= 0 || t.Duration == Never {
			d.reject("limits."+t.key, "must be more than 0 and end")
		}
	}
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"request-line", int64(l.RequestLine)},
		{"request-headers", int64(l.RequestHeaders)},
		{"request-fields", int64(l.RequestFields)},
		{"ranges", int64(l.Ranges)},
		{"connections-per-client", int64(l.ConnectionsPerClient)},
		{"http2-streams", int64(l.HTTP2Streams)},
		{"fills.all", int64(l.Fills.All)},
		{"fills.per-mirror", int64(l.Fills.PerMirror)},
		{"fills.per-client", int64(l.Fills.PerClient)},
		{"upstream-headers", int64(l.UpstreamHeaders)},
		{"object", int64(l.Object)},
	} {
		if n.value <= 0 {
			d.reject("limits."+n.key, "must be more than 0")
		}
	}
	if l.Connections < 0 {
		d.reject("limits.connections", "must be 0 or more")
	}
	if l.Redirects < 0 {
		d.reject("limits.redirects", "must be 0 or more")
	}
	for i, h := range l.UpstreamHours {
		if h.From == h.To {
			d.reject(fmt.Sprintf("limits.upstream-hours[%d]", i), "ends when it begins")
		}
	}
}

// isToken reports whether s may be the name of a field (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
