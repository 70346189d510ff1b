package oci

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Authorize makes the transport of a registry that wants tokens (the Bearer
// scheme of Docker's registries), over one that knows how to reach other hosts.
//
// A 401 says where tokens are given out. There, and only if that is the registry
// itself, or by https its host or one of hosts ("host" or "host:port"), a token
// is fetched: for the repository, with the request's Basic credentials if it has
// any. The registry gets the token, and the credentials themselves only if that
// is what it asks for. A token is used again until it has expired by this
// clock; the registry's may be wrong.
//
// A refusal of either comes out as 403, never as 401: a client would believe that
// credentials of its own could help. Requests with other credentials than Basic
// are left alone. now may be nil.
//
// accounts are further credentials, as an Authorization field has them: they are used
// in turn with the request's own, which must be Basic, each until the registry says
// that it may hardly be asked any more for it, or refuses (429). A response tells a
// quota only if the next request will be for the same account.
func Authorize(hosts, accounts []string, now func() time.Time) func(http.RoundTripper) http.RoundTripper {
	if now == nil {
		now = time.Now
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return &authorizer{
			next: next, hosts: hosts, now: now, turn: turn{accounts: accounts},
			wants: map[string]want{}, grants: map[want]grant{}, fetching: map[want]*fetch{},
		}
	}
}

// An authorizer is the transport of one registry.
type authorizer struct {
	next  http.RoundTripper
	hosts []string
	now   func() time.Time
	turn  turn

	mu       sync.Mutex
	wants    map[string]want // guarded by mu, like what follows; what a repository was found to ask for
	grants   map[want]grant
	fetching map[want]*fetch
}

// A want is what a registry asks for: a token, or if realm is "" the Basic credentials.
// It is for one account, by its place in the turn.
type want struct {
	realm, service, scope string
	account               int
}

// Bounds of tokens. A registry of a million repositories asks for some again.
const (
	maxWants     = 10_000
	maxTokenBody = 256 << 10
	maxSends     = 3
	defaultLife  = time.Minute // the specification's
	maxLife      = 24 * time.Hour
)

// RoundTrip implements [http.RoundTripper].
func (a *authorizer) RoundTrip(r *http.Request) (*http.Response, error) {
	basic := r.Header.Get("Authorization")
	if basic != "" && !strings.HasPrefix(basic, "Basic ") {
		return a.next.RoundTrip(r)
	}
	if len(a.turn.accounts) == 0 {
		return a.as(r, basic, 0)
	}
	for range a.turn.accounts {
		account := a.turn.take(a.now())
		res, err := a.as(r, a.turn.of(account, basic), account)
		if err != nil {
			return nil, err
		}
		if again := a.turn.heard(account, res, a.now()); !again {
			return res, nil
		}
		io.CopyN(io.Discard, res.Body, 4<<10)
		res.Body.Close()
	}
	account := a.turn.take(a.now())
	return a.as(r, a.turn.of(account, basic), account)
}

// as is the answer to r for an account, whose credentials are basic.
func (a *authorizer) as(r *http.Request, basic string, account int) (*http.Response, error) {
	repository := repositoryOf(r.URL.Path)
	a.mu.Lock()
	w, known := a.wants[repository]
	a.mu.Unlock()
	for sent := 1; ; sent++ {
		authorization := ""
		w.account = account
		if known {
			var err error
			if authorization, err = a.authorization(r, w, basic); err != nil {
				return refusedBy(r, err)
			}
		}
		res, err := a.send(r, authorization)
		if err != nil || res.StatusCode != http.StatusUnauthorized {
			return res, err
		}
		io.CopyN(io.Discard, res.Body, 4<<10) // a short body leaves the connection usable
		res.Body.Close()
		if known {
			a.forget(w, strings.TrimPrefix(authorization, "Bearer "))
		}
		asked, ok, err := a.wanted(r.URL, repository, res.Header["Www-Authenticate"])
		if err != nil {
			return nil, err
		}
		if !ok || sent == maxSends || asked.realm == "" && (basic == "" || authorization == basic) {
			return deny(r, http.StatusForbidden, ""), nil
		}
		a.remember(repository, asked)
		w, known = asked, true
	}
}

// send is r with this Authorization; "" is none.
func (a *authorizer) send(r *http.Request, authorization string) (*http.Response, error) {
	if r.Header.Get("Authorization") != authorization {
		c := *r
		c.Header = r.Header.Clone()
		c.Header.Del("Authorization")
		if authorization != "" {
			c.Header.Set("Authorization", authorization)
		}
		r = &c
	}
	return a.next.RoundTrip(r)
}

// authorization is what w asks for.
func (a *authorizer) authorization(r *http.Request, w want, basic string) (string, error) {
	if w.realm == "" {
		return basic, nil
	}
	token, err := a.token(r, w, basic)
	return "Bearer " + token, err
}

// wanted is what a challenge to a request for u asks for; ok is false for nothing
// that we have. A token is asked for where there is a choice. The error says that
// the realm is a place where we do not go.
func (a *authorizer) wanted(u *url.URL, repository string, fields []string) (w want, ok bool, err error) {
	for _, c := range challenges(fields) {
		switch {
		case c.scheme == "bearer":
			realm, err := url.Parse(c.parameters["realm"])
			if err != nil || !a.allowed(realm, u) {
				return want{}, false, fmt.Errorf("tokens of %s are to be had at %.200q, which is neither its own nor in auth-hosts",
					u.Host, c.parameters["realm"])
			}
			scope := c.parameters["scope"]
			if scope == "" && repository != "" {
				scope = "repository:" + repository + ":pull"
			}
			realm.Fragment, realm.RawFragment = "", ""
			return want{realm: realm.String(), service: c.parameters["service"], scope: scope}, true, nil
		case c.scheme == "basic":
			ok = true
		}
	}
	return want{}, ok, nil
}

// allowed says whether tokens for registry may be asked for at realm.
func (a *authorizer) allowed(realm, registry *url.URL) bool {
	if realm.Scheme != "http" && realm.Scheme != "https" || realm.Hostname() == "" || realm.User != nil {
		return false
	}
	host := hostPort(realm)
	if realm.Scheme == registry.Scheme && host == hostPort(registry) {
		return true
	}
	return realm.Scheme == "https" && (strings.EqualFold(realm.Hostname(), registry.Hostname()) ||
		slices.ContainsFunc(a.hosts, func(h string) bool { return host == hostPort(&url.URL{Scheme: "https", Host: h}) }))
}

// hostPort is host and port of u, in lower case, the port always there.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = u.Scheme // stands for its port
	} else if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = u.Scheme
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// remember keeps what a repository asks for.
func (a *authorizer) remember(repository string, w want) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.wants) >= maxWants {
		clear(a.wants)
	}
	a.wants[repository] = w
}

// forget drops a token that the registry did not take.
func (a *authorizer) forget(w want, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants[w].token == token {
		delete(a.grants, w)
	}
}

// refusedBy is what a request comes to whose token could not be had.
func refusedBy(r *http.Request, err error) (*http.Response, error) {
	var e *tokenError
	if !errors.As(err, &e) {
		return nil, err
	}
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return deny(r, http.StatusForbidden, ""), nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return deny(r, e.status, e.retryAfter), nil
	}
	return nil, err
}

// deny is a response of our own to r.
func deny(r *http.Request, status int, retryAfter string) *http.Response {
	res := &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: r,
	}
	if retryAfter != "" {
		res.Header.Set("Retry-After", retryAfter)
	}
	return res
}

// repositoryOf is the repository that a path on a registry is about, whatever
// comes before /v2/ there; "" if it is about none.
func repositoryOf(path string) string {
	i := strings.Index(path, root)
	if i < 0 {
		return ""
	}
	p, err := locate(path[i:])
	if err != nil {
		return ""
	}
	return p.name
}
