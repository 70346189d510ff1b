package filter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type tokenAuthOptions struct {
	Tokens []namedToken `yaml:"tokens,required"`
	Realm  string       `yaml:"realm"`
}

type namedToken struct {
	Name  string `yaml:"name,required"` // the user that it stands for
	Token Secret `yaml:"token,required"`
}

// Check implements [Checker].
func (o *tokenAuthOptions) Check(reject func(path, format string, args ...any)) {
	checkRealm(o.Realm, reject)
	seen := map[Secret]bool{}
	for i, t := range o.Tokens {
		if seen[t.Token] {
			reject(fmt.Sprintf("tokens[%d].token", i), "is another one's already")
		}
		seen[t.Token] = true
	}
}

func checkRealm(realm string, reject func(path, format string, args ...any)) {
	if !isFieldValue(realm) || strings.ContainsAny(realm, `"\`) {
		reject("realm", "%q cannot stand in a header field", realm)
	}
}

// TokenAuth is the kind that wants a token: as Authorization Bearer (RFC 6750), or
// as the password of Basic, whatever the user name, for clients that know no other.
// Its result is unauthorized.
func TokenAuth() Kind {
	return Define("wants a token of a list", []Result{{Name: "unauthorized"}},
		tokenAuthOptions{Realm: "cache-proxy"}, func(o tokenAuthOptions, _ Env) (Filter, error) {
			a := &tokenAuth{users: map[[sha256.Size]byte]string{}, challenge: `Bearer realm="` + o.Realm + `"`, basic: `Basic realm="` + o.Realm + `"`}
			for _, t := range o.Tokens {
				a.users[sha256.Sum256([]byte(t.Token))] = t.Name
			}
			return a, nil
		})
}

type tokenAuth struct {
	users            map[[sha256.Size]byte]string // by digest of their token, so that time tells nothing of the token
	challenge, basic string
}

func (a *tokenAuth) Handle(_ context.Context, x *Exchange) string {
	if token := bearer(x.Request.Client.Header); token != "" {
		if user, ok := a.users[sha256.Sum256([]byte(token))]; ok {
			x.authenticated(user)
			return ""
		}
	}
	unauthorized(x, a.challenge, a.basic)
	return "unauthorized"
}

func (a *tokenAuth) Status() any { return map[string]int{"tokens": len(a.users)} }

// authenticated says who asks. What proved it is for this filter, and goes no further.
func (x *Exchange) authenticated(user string) {
	x.User = user
	if x.Request.Header["Authorization"] != nil {
		x.EditRequest(func(h http.Header) { delete(h, "Authorization") })
	}
}

// unauthorized refuses x until credentials come that fit one of the challenges.
func unauthorized(x *Exchange, challenges ...string) {
	x.Refuse(&exchange.Error{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": challenges}})
}

// bearer is the token in Authorization, be it the password of Basic; "" if there is none.
func bearer(h http.Header) string {
	scheme, value := credentials(h)
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return value
	case strings.EqualFold(scheme, "basic"):
		_, password, _ := basic(value)
		return password
	}
	return ""
}

// credentials are those of Authorization, of which there may be one (RFC 9110 §11.6.2).
func credentials(h http.Header) (scheme, value string) {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return "", ""
	}
	scheme, value, _ = strings.Cut(lines[0], " ")
	return scheme, strings.Trim(value, " ")
}

// basic takes user-id and password apart (RFC 7617 §2).
func basic(value string) (user, password string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(raw), ":")
}
