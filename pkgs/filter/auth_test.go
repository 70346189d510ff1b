package filter

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// htpasswd is a line for a user; its cost is the lowest there is.
func htpasswd(t testing.TB, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return user + ":" + string(hash) + "\n"
}

func TestBasicAuth(t *testing.T) {
	c, file := newClock(), filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("# who\n\n"+htpasswd(t, "ann", "pass:word")), 0o600))
	f := makeFilter(t, BasicAuth(), c, func(o *basicAuthOptions) { o.Htpasswd, o.Realm = file, "here" })
	ask := func(fields ...string) (string, *Exchange) { return handle(f, npm, request("a", "1", fields...)) }
	for range 2 { // the second time it is remembered
		result, x := ask("Authorization", basicField("ann", "pass:word"))
		assert.Empty(t, result)
		assert.Equal(t, "ann", x.User)
	}
	for name, field := range map[string]string{
		"wrong password": basicField("ann", "password"), "unknown user": basicField("bob", "pass:word"), "no password": "Basic YW5u",
		"bearer": "Bearer pass:word", "no base64": "Basic !!", "empty": "", "other user's": basicField("ann\x00", "pass:word"),
	} {
		result, x := ask("Authorization", field)
		assert.Equal(t, "unauthorized", result, name)
		assert.Equal(t, 401, x.Status(), name)
		assert.Equal(t, `Basic realm="here", charset="UTF-8"`, asError(x.err).Header.Get("WWW-Authenticate"))
	}
	result, _ := ask("Authorization", basicField("ann", "pass:word"), "Authorization", basicField("ann", "pass:word"))
	assert.Equal(t, "unauthorized", result, "two fields are none")

	// Nothing of it goes on.
	r := request("a", "1", "Authorization", basicField("ann", "pass:word"))
	r.Header = http.Header{"Authorization": r.Client.Header["Authorization"], "Accept": {"x"}}
	_, x := handle(f, npm, r)
	assert.Equal(t, http.Header{"Accept": {"x"}}, x.Request.Header)
	assert.NotEmpty(t, r.Header["Authorization"], "the request itself is as it was")

	// A changed file counts within a second, one that cannot be read does not.
	require.NoError(t, os.WriteFile(file, []byte(htpasswd(t, "bob", "new one")), 0o600))
	require.NoError(t, os.Chtimes(file, c.Now(), c.Now().Add(time.Hour)))
	result, _ = ask("Authorization", basicField("ann", "pass:word"))
	assert.Empty(t, result, "it is looked at once a second")
	c.advance(time.Second)
	result, _ = ask("Authorization", basicField("ann", "pass:word"))
	assert.Equal(t, "unauthorized", result, "who was right before is not any more")
	result, _ = ask("Authorization", basicField("bob", "new one"))
	assert.Empty(t, result)
	require.NoError(t, os.WriteFile(file, []byte("bob:plain\n"), 0o600))
	c.advance(time.Second)
	result, _ = ask("Authorization", basicField("bob", "new one"))
	assert.Empty(t, result)
	assert.Equal(t, map[string]int{"users": 1}, f.Status())
}

// That a file cannot be read is said, whoever looks at the filter meanwhile.
func TestFileThatCannotBeReadIsSaid(t *testing.T) {
	c, file, said := newClock(), filepath.Join(t.TempDir(), "users"), &bytes.Buffer{}
	require.NoError(t, os.WriteFile(file, []byte(htpasswd(t, "ann", "a")), 0o600))
	f, err := BasicAuth().New(&basicAuthOptions{Htpasswd: file}, Env{Log: slog.New(slog.NewTextHandler(said, nil)), Now: c.Now})
	require.NoError(t, err)
	require.NoError(t, os.Remove(file))
	c.advance(time.Second)
	assert.Equal(t, map[string]int{"users": 1}, f.Status())
	for range 2 {
		result, _ := handle(f, npm, request("a", "1", "Authorization", basicField("ann", "a")))
		assert.Empty(t, result)
	}
	assert.Equal(t, 1, strings.Count(said.String(), "users are those of before"), said)
}

func TestHtpasswd(t *testing.T) {
	for text, want := range map[string]string{
		"ann":                          "1: want user:hash",
		":x":                           "1: want user:hash",
		"\n\nann:$apr1$x$y":            "3: the hash of ann is not bcrypt's",
		"ann:{SHA}x":                   "1: the hash of ann is not bcrypt's",
		htpasswd(t, "ann", "x") + "x:": "2: the hash of x is not bcrypt's",
		strings.Repeat(htpasswd(t, "ann", "x"), 2):       "2: ann is there twice",
		"ann:" + strings.Repeat("x", 1<<20):              "too long",
		strings.TrimSpace(htpasswd(t, "ann", "x")) + "y": "1: the hash of ann is not bcrypt's",
	} {
		_, err := parseHtpasswd([]byte(text))
		assert.ErrorContains(t, err, want)
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("# c\n" + htpasswd(f, "ann", "x")))
	f.Add([]byte("a:b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := parseHtpasswd(text)
		if err != nil {
			return
		}
		for user, hash := range users {
			require.NotEmpty(t, user)
			require.Len(t, hash, 60)
		}
	})
}

func TestTokenAuth(t *testing.T) {
	f := makeFilter(t, TokenAuth(), newClock(), func(o *tokenAuthOptions) { o.Tokens = []namedToken{{"ci", "secret"}, {"dev", "other"}} })
	for field, want := range map[string]string{
		"Bearer secret": "ci", "bearer  other": "dev", basicField("anyone", "secret"): "ci", "Bearer secrets": "", "Bearer ": "", "": "",
		basicField("secret", ""): "", "secret": "",
	} {
		result, x := handle(f, npm, request("a", "1", "Authorization", field))
		assert.Equal(t, want, x.User, field)
		assert.Equal(t, want == "", result == "unauthorized", field)
	}
}

// sign is a token with claims.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	require.NoError(t, err)
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	require.NoError(t, err)
	return token
}

// G035: good, expired, wrong key, and what else a token can be.
func TestJWTSecret(t *testing.T) {
	c, secret := newClock(), strings.Repeat("s", 32)
	f := makeFilter(t, JWT(), c, func(o *jwtOptions) {
		o.Secret, o.Issuer, o.Audience, o.UserClaim = Secret(secret), "us", []string{"here", "there"}, "email"
	})
	claims := func(change ...any) map[string]any {
		m := map[string]any{"iss": "us", "aud": []string{"there"}, "exp": c.Now().Add(time.Hour).Unix(), "email": "ann@example.org"}
		for i := 0; i < len(change); i += 2 {
			m[change[i].(string)] = change[i+1]
			if change[i+1] == nil {
				delete(m, change[i].(string))
			}
		}
		return m
	}
	good := sign(t, jose.HS256, []byte(secret), "", claims())
	tests := []struct{ name, field, user string }{
		{"good", "Bearer " + good, "ann@example.org"},
		{"as a password", basicField("x", good), "ann@example.org"},
		{"none", "", ""},
		{"wrong key", "Bearer " + sign(t, jose.HS256, []byte(strings.Repeat("t", 32)), "", claims()), ""},
		{"another algorithm", "Bearer " + sign(t, jose.HS512, []byte(strings.Repeat(secret, 2)), "", claims()), ""},
		{"expired", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("exp", c.Now().Add(-2*time.Minute).Unix())), ""},
		{"within the leeway", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("exp", c.Now().Add(-30*time.Second).Unix())), "ann@example.org"},
		{"not yet", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("nbf", c.Now().Add(time.Hour).Unix())), ""},
		{"without an end", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("exp", nil)), ""},
		{"of another issuer", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("iss", "them")), ""},
		{"for others", "Bearer " + sign(t, jose.HS256, []byte(secret), "", claims("aud", "elsewhere")), ""},
		{"no token", "Bearer a.b.c", ""},
		{"unsigned", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, x := handle(f, npm, request("a", "1", "Authorization", tt.field))
			assert.Equal(t, tt.user, x.User)
			assert.Equal(t, tt.user == "", result == "unauthorized")
		})
	}
	_, x := handle(f, npm, request("a", "1", "Authorization", "Bearer x"))
	assert.Contains(t, asError(x.err).Header.Get("WWW-Authenticate"), `error="invalid_token"`)
	c.advance(2 * time.Hour)
	result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+good))
	assert.Equal(t, "unauthorized", result, "what was right is not for ever")
}

func TestJWTPublicKey(t *testing.T) {
	c := newClock()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	require.NoError(t, os.WriteFile(file, text, 0o600))
	f := makeFilter(t, JWT(), c, func(o *jwtOptions) { o.PublicKey = file })
	claims := map[string]any{"sub": "ann", "exp": c.Now().Add(time.Hour).Unix()}
	result, x := handle(f, npm, request("a", "1", "Authorization", "Bearer "+sign(t, jose.ES256, ec, "any", claims)))
	assert.Empty(t, result)
	assert.Equal(t, "ann", x.User)
	result, _ = handle(f, npm, request("a", "1", "Authorization", "Bearer "+sign(t, jose.HS256, text, "", claims)))
	assert.Equal(t, "unauthorized", result, "the public key is no secret")
}

// Clocks may differ by leeway, and what is signed by another algorithm is none.
func TestJWTLeewayAndAlgorithms(t *testing.T) {
	c := newClock()
	secret := Secret(strings.Repeat("s", 32))
	ended := func(ago time.Duration) string {
		return sign(t, jose.HS256, []byte(secret), "", map[string]any{"sub": "ann", "exp": c.Now().Add(-ago).Unix()})
	}
	for leeway, want := range map[time.Duration]string{0: "unauthorized", 2 * time.Minute: ""} {
		f := makeFilter(t, JWT(), c, func(o *jwtOptions) { o.Secret, o.Leeway = secret, leeway })
		result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+ended(90*time.Second)))
		assert.Equal(t, want, result, leeway)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	token := sign(t, jose.ES256, key, "", map[string]any{"sub": "ann", "exp": c.Now().Add(time.Hour).Unix()})
	for algorithm, want := range map[string]string{"ES256": "", "RS256": "unauthorized"} {
		f := makeFilter(t, JWT(), c, func(o *jwtOptions) { o.PublicKey, o.Algorithms = file, []string{algorithm} })
		result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+token))
		assert.Equal(t, want, result, algorithm)
	}
}

// Keys in files are those that are there now; a file that says nothing changes none.
func TestJWTKeysChange(t *testing.T) {
	one, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	two, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	asPEM := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	asSet := func(k *ecdsa.PrivateKey) []byte {
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &k.PublicKey}}})
		require.NoError(t, err)
		return text
	}
	for _, test := range []struct {
		name   string
		text   func(*ecdsa.PrivateKey) []byte
		option func(o *jwtOptions, file string)
	}{
		{"public-key", asPEM, func(o *jwtOptions, file string) { o.PublicKey = file }},
		{"jwks", asSet, func(o *jwtOptions, file string) { o.JWKS = &url.URL{Scheme: "file", Path: file} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			file := filepath.Join(t.TempDir(), "keys")
			require.NoError(t, os.WriteFile(file, test.text(one), 0o600))
			f := makeFilter(t, JWT(), c, func(o *jwtOptions) { test.option(o, file) })
			n := 0
			ask := func(k *ecdsa.PrivateKey) string {
				n++ // no token is one that was proved before
				claims := map[string]any{"sub": "ann", "n": n, "exp": c.Now().Add(time.Hour).Unix()}
				result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+sign(t, jose.ES256, k, "", claims)))
				return result
			}
			assert.Empty(t, ask(one))
			assert.Equal(t, "unauthorized", ask(two))
			require.NoError(t, os.WriteFile(file+".new", test.text(two), 0o600))
			require.NoError(t, os.Rename(file+".new", file))
			c.advance(time.Second)
			assert.Empty(t, ask(two))
			assert.Equal(t, "unauthorized", ask(one))
			require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
			c.advance(time.Second)
			assert.Empty(t, ask(two))
			require.NoError(t, os.Remove(file))
			c.advance(time.Second)
			assert.Empty(t, ask(two))
		})
	}

	t.Run("comes later", func(t *testing.T) {
		c, file := newClock(), filepath.Join(t.TempDir(), "keys")
		f := makeFilter(t, JWT(), c, func(o *jwtOptions) { o.JWKS = &url.URL{Scheme: "file", Path: file} })
		token := sign(t, jose.ES256, one, "", map[string]any{"sub": "ann", "exp": c.Now().Add(time.Hour).Unix()})
		ask := func() string {
			result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+token))
			return result
		}
		assert.Equal(t, "unavailable", ask())
		require.NoError(t, os.WriteFile(file, asSet(one), 0o600))
		c.advance(time.Second)
		assert.Empty(t, ask())
	})
}

// Keys come from an issuer, change there, and are kept while it is away.
func TestJWTDiscovery(t *testing.T) {
	c := newClock()
	one, err := rsa.GenerateKey(rand.Reader, 1024) // made in no time, and never used
	require.NoError(t, err)
	two, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var keys atomic.Pointer[jose.JSONWebKeySet]
	var issuer atomic.Value
	var asked atomic.Int64
	keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &one.PublicKey, KeyID: "1"}, {Key: []byte("public secret"), KeyID: "3"}}})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch set := keys.Load(); {
		case set == nil:
			http.Error(w, "away", http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]any{"issuer": issuer.Load(), "jwks_uri": "http://" + r.Host + "/keys"})
		default:
			json.NewEncoder(w).Encode(set)
		}
	}))
	defer provider.Close()
	issuer.Store(provider.URL)
	claims := map[string]any{"iss": provider.URL, "sub": "ann", "exp": c.Now().Add(24 * time.Hour).Unix()}
	ask := func(f Filter, token string) string {
		result, _ := handle(f, npm, request("a", "1", "Authorization", "Bearer "+token))
		return result
	}
	first, second := sign(t, jose.RS256, one, "1", claims), sign(t, jose.ES256, two, "2", claims)
	said := &bytes.Buffer{} // its handler has a lock, and nobody writes when it is read
	k := JWT()
	options := k.Options().(*jwtOptions)
	options.Discover, options.Issuer = true, provider.URL
	f, err := k.New(options, Env{Log: slog.New(slog.NewTextHandler(said, nil)), Now: c.Now})
	require.NoError(t, err)
	assert.Empty(t, ask(f, first))
	assert.EqualValues(t, 2, asked.Load())
	assert.Equal(t, map[string]int{"keys": 1}, f.Status(), "a secret that all can read is none")
	keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &two.PublicKey, KeyID: "2"}}})
	assert.Equal(t, "unauthorized", ask(f, second), "nobody makes it ask all the time")
	assert.EqualValues(t, 2, asked.Load())
	c.advance(keysRetry)
	assert.Empty(t, ask(f, second))
	assert.Empty(t, ask(f, first), "it was right a moment ago")
	c.advance(trustTime)
	assert.Equal(t, "unauthorized", ask(f, first))
	keys.Store(nil)
	c.advance(2 * time.Hour)
	assert.Empty(t, ask(f, second), "the issuer is away")
	require.Eventually(t, func() bool {
		k := f.(*jwtAuth).keys
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.loading == nil
	}, 5*time.Second, time.Millisecond)
	assert.Contains(t, said.String(), "keys are those of before")

	f = makeFilter(t, JWT(), c, func(o *jwtOptions) { o.Discover, o.Issuer = true, provider.URL })
	result, x := handle(f, npm, request("a", "1", "Authorization", "Bearer "+first))
	assert.Equal(t, "unavailable", result)
	assert.Equal(t, 503, x.Status())
	f = makeFilter(t, JWT(), c, func(o *jwtOptions) {
		o.JWKS, err = url.Parse(strings.Replace(provider.URL, "//", "//me:pass@", 1))
	})
	require.NoError(t, err)
	_, x = handle(f, npm, request("a", "1", "Authorization", "Bearer "+first))
	assert.ErrorContains(t, x.err, "503 Service Unavailable")
	assert.NotContains(t, x.err.Error(), "pass", "which the log would have")

	keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &one.PublicKey, KeyID: "1"}}})
	issuer.Store("https://decoy.example.org")
	f = makeFilter(t, JWT(), c, func(o *jwtOptions) { o.Discover, o.Issuer = true, provider.URL })
	assert.Equal(t, "unavailable", ask(f, first), "the provider says that it is another")
	u, err := url.Parse(provider.URL + "/keys")
	require.NoError(t, err)
	f = makeFilter(t, JWT(), c, func(o *jwtOptions) { o.JWKS = u })
	assert.Empty(t, ask(f, first))

	text, err := json.Marshal(keys.Load())
	require.NoError(t, err)
	text = bytes.Replace(text, []byte(`[`), []byte(`[{"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "later"}, `), 1)
	file := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	f = makeFilter(t, JWT(), c, func(o *jwtOptions) { o.JWKS = &url.URL{Scheme: "file", Path: file} })
	assert.Empty(t, ask(f, first))
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "oct", "k": "c2VjcmV0"}]}`))
	f.Add([]byte(`{"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var set keySet
		if json.Unmarshal(text, &set) != nil {
			return
		}
		public, err := set.public("here")
		if err != nil {
			return
		}
		for _, key := range public.Keys {
			require.True(t, key.IsPublic())
			require.True(t, key.Valid())
		}
	})
}
