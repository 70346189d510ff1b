package filter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type jwtOptions struct {
	// Where keys come from, exactly one of these.
	Secret    Secret   `yaml:"secret"`     // shared, for HS256: 32 bytes or more
	PublicKey string   `yaml:"public-key"` // PEM file
	JWKS      *url.URL `yaml:"jwks"`       // http, https or file
	Discover  bool     `yaml:"discover"`   // what the issuer says (OpenID Connect Discovery 1.0, §4)

	Algorithms []string      `yaml:"algorithms,single"` // HS256, RS256, ES256; default HS256 with secret, else the other two
	Issuer     string        `yaml:"issuer"`            // iss must be this; '': anybody
	Audience   []string      `yaml:"audience,single"`   // aud must have one of these; none: anything
	UserClaim  string        `yaml:"user-claim"`        // which claim says who it is
	Leeway     time.Duration `yaml:"leeway"`            // for clocks that differ
	Realm      string        `yaml:"realm"`
}

var algorithms = []string{"HS256", "RS256", "ES256"}

// Check implements [Checker].
func (o *jwtOptions) Check(reject func(path, format string, args ...any)) {
	checkRealm(o.Realm, reject)
	sources := 0
	for _, set := range []bool{o.Secret != "", o.PublicKey != "", o.JWKS != nil, o.Discover} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		reject("", "want exactly one of secret, public-key, jwks and discover")
	}
	if o.Secret != "" && len(o.Secret) < 32 {
		reject("secret", "is shorter than 32 bytes, which HS256 asks for (RFC 7518 §3.2)")
	}
	for i, a := range o.Algorithms {
		switch at := fmt.Sprintf("algorithms[%d]", i); {
		case !slices.Contains(algorithms, a):
			reject(at, "%q is none of %s", a, strings.Join(algorithms, ", "))
		case (a == "HS256") != (o.Secret != ""):
			reject(at, "HS256 and secret need each other: a public key must not be taken for a secret")
		}
	}
	if o.PublicKey != "" {
		if _, err := readPublicKey(o.PublicKey); err != nil {
			reject("public-key", "%v", err)
		}
	}
	if o.JWKS != nil && !(o.JWKS.Scheme == "file" && o.JWKS.Path != "" || isWeb(o.JWKS)) {
		reject("jwks", "%v is no http, https or file URL", o.JWKS.Redacted())
	}
	if u, err := url.Parse(o.Issuer); o.Discover && (err != nil || !isWeb(u)) {
		reject("issuer", "%q is no URL, which discover needs", o.Issuer)
	}
	if o.Leeway < 0 || o.Leeway > time.Hour {
		reject("leeway", "must be from 0 to 1h")
	}
}

func isWeb(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

// JWT is the kind that wants a signed token (RFC 7519): as Authorization Bearer, or
// as the password of Basic. It must end (exp). Its results are unauthorized, and
// unavailable where the keys cannot be had.
func JWT() Kind {
	return Define("wants a signed token (JWT, OpenID Connect)", []Result{{Name: "unauthorized"}, {Name: "unavailable"}},
		jwtOptions{UserClaim: "sub", Leeway: time.Minute, Realm: "cache-proxy"}, func(o jwtOptions, env Env) (Filter, error) {
			a := &jwtAuth{jwtOptions: o, log: env.Log, now: env.Now, proved: map[[sha256.Size]byte]user{}}
			use := o.Algorithms
			if len(use) == 0 && o.Secret != "" {
				use = []string{"HS256"}
			} else if len(use) == 0 {
				use = []string{"RS256", "ES256"}
			}
			for _, name := range use {
				a.algorithms = append(a.algorithms, jose.SignatureAlgorithm(name))
			}
			var err error
			a.keys, err = o.keys(env.Now, env.Log)
			return a, err
		})
}

// trustTime is for how long a token that was right is not looked at again.
const trustTime = time.Minute

type jwtAuth struct {
	jwtOptions
	algorithms []jose.SignatureAlgorithm
	keys       *keys
	log        *slog.Logger
	now        func() time.Time

	mu     sync.Mutex
	proved map[[sha256.Size]byte]user // guarded by mu; by digest of the token
}

// A user is who a token is of, and until when that need not be proved again.
type user struct {
	name  string
	until time.Time
}

func (a *jwtAuth) Handle(ctx context.Context, x *Exchange) string {
	token := bearer(x.Request.Client.Header)
	if token == "" {
		unauthorized(x, `Bearer realm="`+a.Realm+`"`, `Basic realm="`+a.Realm+`"`)
		return "unauthorized"
	}
	name, err := a.user(ctx, token)
	switch {
	case errors.Is(err, errNoKeys):
		x.Refuse(&exchange.Error{Status: http.StatusServiceUnavailable, Message: "tokens cannot be checked now", RetryAfter: keysRetry, Reason: "filter", Err: err})
		return "unavailable"
	case err != nil:
		a.log.Debug("token refused", "hub", x.Hub.Name, "err", err)
		unauthorized(x, `Bearer realm="`+a.Realm+`", error="invalid_token"`, `Basic realm="`+a.Realm+`"`) // RFC 6750 §3.1
		return "unauthorized"
	}
	x.authenticated(name)
	return ""
}

// user is who a token is of.
func (a *jwtAuth) user(ctx context.Context, token string) (string, error) {
	sum, now := sha256.Sum256([]byte(token)), a.now()
	a.mu.Lock()
	known, ok := a.proved[sum]
	a.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.name, nil
	}
	name, expires, err := a.prove(ctx, token, now)
	if err != nil {
		return "", err
	}
	until := now.Add(trustTime)
	if expires.Before(until) {
		until = expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.proved) >= maxProved {
		clear(a.proved)
	}
	a.proved[sum] = user{name, until}
	return name, nil
}

func (a *jwtAuth) prove(ctx context.Context, token string, now time.Time) (name string, expires time.Time, err error) {
	t, err := jwt.ParseSigned(token, a.algorithms)
	if err != nil {
		return "", expires, err
	}
	candidates, err := a.keys.named(ctx, t.Headers[0].KeyID)
	if err != nil {
		return "", expires, err
	}
	var claims jwt.Claims
	var all map[string]any
	err = errors.New("no key of that name")
	for _, key := range candidates {
		if err = t.Claims(key, &claims, &all); err == nil {
			break
		}
	}
	if err != nil {
		return "", expires, err
	}
	if claims.Expiry == nil {
		return "", expires, errors.New("it does not end: no exp")
	}
	expected := jwt.Expected{Issuer: a.Issuer, AnyAudience: a.Audience, Time: now}
	if err := claims.ValidateWithLeeway(expected, a.Leeway); err != nil {
		return "", expires, err
	}
	name, _ = all[a.UserClaim].(string)
	return name, claims.Expiry.Time(), nil
}

func (a *jwtAuth) Status() any { return map[string]int{"keys": a.keys.count()} }
