package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxBody is how much a request may bring along.
const maxBody = 1 << 20

// A guard stands before all routes (FAULTS B36, B37).
type guard struct {
	*Options
	next  http.Handler
	hosts []string // lower case, without the dot of an absolute name
	token [sha256.Size]byte

	pages    *pages    // nil: there are none
	sessions *sessions // of people's browsers; nil: there are none
}

func newGuard(o *Options, next http.Handler) *guard {
	g := &guard{Options: o, next: next, hosts: []string{"localhost"}, token: sha256.Sum256([]byte(o.Token))}
	for _, h := range o.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(strings.TrimSuffix(h, ".")))
	}
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	changes := false
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost, http.MethodPut, http.MethodDelete:
		changes = true
	default:
		h.Set("Allow", "GET, HEAD, POST, PUT, DELETE")
		writeProblem(w, http.StatusMethodNotAllowed, "", "only GET, HEAD, POST, PUT and DELETE")
		return
	}
	switch {
	case !g.knows(r.Host):
		g.refuse(w, r, http.StatusForbidden, "admin-host", "this Host is not one of admin.hosts")
	case changes && !own(r):
		g.refuse(w, r, http.StatusForbidden, "admin-origin", "the request comes from a page of another origin")
	case g.Token == "" || g.pages.open(r) || g.shown(r.Header["Authorization"]) || g.sessions.holds(r):
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		g.next.ServeHTTP(w, r)
	case r.Method == http.MethodGet && g.pages.is(r.URL.Path) && strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Redirect(w, r, loginPath, http.StatusSeeOther)
	default:
		h.Set("WWW-Authenticate", `Bearer realm="cache-proxy"`)
		g.refuse(w, r, http.StatusUnauthorized, "admin-token", "the token is missing or wrong")
	}
}

func (g *guard) refuse(w http.ResponseWriter, r *http.Request, status int, reason, message string) {
	if g.Refused != nil {
		g.Refused(reason)
	}
	g.Log.Warn("admin request refused", "reason", reason, "method", r.Method, "client", r.RemoteAddr)
	writeProblem(w, status, reason, message)
}

// knows reports whether a Host is ours. Every address is: a page whose name was
// rebound to us still has its name as Host.
func (g *guard) knows(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return slices.Contains(g.hosts, strings.ToLower(strings.TrimSuffix(name, ".")))
}

// own reports whether a browser, if it is one, sends a request on behalf of a page
// of ours, or of its user. Programs send neither field.
func own(r *http.Request) bool {
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return false
		}
	}
	for _, origin := range r.Header["Origin"] {
		if origin != "http://"+r.Host && origin != "https://"+r.Host {
			return false
		}
	}
	return true
}

// shown reports whether the token is in the one Authorization field there is.
func (g *guard) shown(fields []string) bool {
	if len(fields) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	sum := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}
