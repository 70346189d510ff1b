package oci

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A registry is a fake one with its token server, as a transport: what hosts are
// asked is all there is to see.
type registry struct {
	challenge string                // of a 401
	life      string                // expires_in; "" is none
	field     string                // of the token; "" is "token"
	takes     func(n int) bool      // whether the token numbered n is good; nil: all are
	answer    func() *http.Response // of the token server instead of a token
	slow      time.Duration

	mu     sync.Mutex
	tokens int      // given out
	log    []string // "host path?query authorization"
}

func (g *registry) RoundTrip(r *http.Request) (*http.Response, error) {
	authorization := r.Header.Get("Authorization")
	g.mu.Lock()
	g.log = append(g.log, strings.TrimSpace(r.URL.Host+" "+r.URL.RequestURI()+" "+authorization))
	g.mu.Unlock()
	if g.slow > 0 {
		select {
		case <-time.After(g.slow):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/token" {
		if g.answer != nil {
			return g.answer(), nil
		}
		g.tokens++
		field, life := g.field, ""
		if field == "" {
			field = "token"
		}
		if g.life != "" {
			life = `, "expires_in": ` + g.life
		}
		// A clock that is years behind must not matter.
		return response(200, fmt.Sprintf(`{%q: "t%d", "issued_at": "2001-01-01T00:00:00Z"%s}`, field, g.tokens, life)), nil
	}
	var n int
	if _, err := fmt.Sscanf(authorization, "Bearer t%d", &n); err == nil && (g.takes == nil || g.takes(n)) {
		return response(200, "content"), nil
	}
	if strings.HasPrefix(g.challenge, "Basic") && strings.HasPrefix(authorization, "Basic ") {
		return response(200, "content"), nil
	}
	res := response(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`)
	res.Header["Www-Authenticate"] = []string{g.challenge}
	return res, nil
}

// asked is what was asked since the last time.
func (g *registry) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	log := g.log
	g.log = nil
	return log
}

func response(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func send(t *testing.T, a http.RoundTripper, target, authorization string) (int, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	require.NoError(t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	res, err := a.RoundTrip(r)
	assert.Equal(t, authorization, r.Header.Get("Authorization"), "the request is the caller's")
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	assert.Empty(t, res.Header.Get("Www-Authenticate"))
	return res.StatusCode, nil
}

const (
	target = "https://registry.example.org/v2/team/app/manifests/latest"
	bearer = `Bearer realm="https://registry.example.org/token",service="S",scope="repository:team/app:pull"`
	asks   = "registry.example.org /token?scope=repository%3Ateam%2Fapp%3Apull&service=S"
	plain  = "registry.example.org /v2/team/app/manifests/latest"
)

var credentials = "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		name     string
		registry *registry
		hosts    []string
		target   string // default target
		basic    string
		status   int
		asked    []string
	}{
		{
			name: "a token for a repository", registry: &registry{challenge: bearer},
			status: 200, asked: []string{plain, asks, plain + " Bearer t1"},
		},
		{
			name: "credentials go to the token's server alone", registry: &registry{challenge: bearer}, basic: credentials,
			status: 200, asked: []string{plain, asks + " " + credentials, plain + " Bearer t1"},
		},
		{
			name: "access_token", registry: &registry{challenge: bearer, field: "access_token"},
			status: 200, asked: []string{plain, asks, plain + " Bearer t1"},
		},
		{
			name: "a challenge without scope", registry: &registry{challenge: `Bearer realm="https://registry.example.org/token",service=S`},
			status: 200, asked: []string{plain, asks, plain + " Bearer t1"},
		},
		{
			name: "without service, behind a path, of a name with kinds", target: "https://registry.example.org/base/v2/v2/blobs/tags/list",
			registry: &registry{challenge: `Bearer realm="https://registry.example.org/token?a=b"`}, status: 200, asked: []string{
				"registry.example.org /base/v2/v2/blobs/tags/list", "registry.example.org /token?a=b&scope=repository%3Av2%2Fblobs%3Apull",
				"registry.example.org /base/v2/v2/blobs/tags/list Bearer t1",
			},
		},
		{
			name: "no repository, no scope", registry: &registry{challenge: `Bearer realm="https://registry.example.org/token"`}, target: "https://registry.example.org/v2/",
			status: 200, asked: []string{"registry.example.org /v2/", "registry.example.org /token", "registry.example.org /v2/ Bearer t1"},
		},
		{
			name: "one more try", registry: &registry{challenge: bearer, takes: func(n int) bool { return n == 2 }},
			status: 200, asked: []string{plain, asks, plain + " Bearer t1", asks, plain + " Bearer t2"},
		},
		{
			name: "and no more", registry: &registry{challenge: bearer, takes: func(int) bool { return false }},
			status: 403, asked: []string{plain, asks, plain + " Bearer t1", asks, plain + " Bearer t2"},
		},
		{
			name: "the token's server refuses", registry: &registry{challenge: bearer, answer: func() *http.Response { return response(401, "") }},
			status: 403, asked: []string{plain, asks},
		},
		{
			name: "the token's server is busy", registry: &registry{challenge: bearer, answer: func() *http.Response { return response(429, "") }},
			status: 429, asked: []string{plain, asks},
		},
		{
			name: "Basic", registry: &registry{challenge: `Basic realm="r"`}, basic: credentials,
			status: 200, asked: []string{plain, plain + " " + credentials},
		},
		{name: "Basic without credentials", registry: &registry{challenge: `Basic realm="r"`}, status: 403, asked: []string{plain}},
		{
			name: "Basic that is not taken", registry: &registry{challenge: `Negotiate, Basic realm="r", Digest a="b"`}, basic: credentials,
			status: 403, asked: []string{plain, plain + " " + credentials},
		},
		{name: "no challenge", registry: &registry{}, basic: credentials, status: 403, asked: []string{plain}},
		{name: "a scheme unknown", registry: &registry{challenge: "Negotiate"}, status: 403, asked: []string{plain}},
		{
			name: "a listed host", registry: &registry{challenge: `Bearer realm="https://auth.example.com/token"`}, hosts: []string{"auth.example.com"},
			status: 200, asked: []string{plain, "auth.example.com /token?scope=repository%3Ateam%2Fapp%3Apull", plain + " Bearer t1"},
		},
		{
			name: "a listed host and port", registry: &registry{challenge: `Bearer realm="https://AUTH.example.com:8443/token"`}, hosts: []string{"auth.example.com:8443"},
			status: 200, asked: []string{plain, "AUTH.example.com:8443 /token?scope=repository%3Ateam%2Fapp%3Apull", plain + " Bearer t1"},
		},
		{
			name: "its own host at another port, by https", registry: &registry{challenge: `Bearer realm="https://registry.example.org/token"`},
			target: "https://registry.example.org:5050/v2/a/manifests/1", status: 200, asked: []string{
				"registry.example.org:5050 /v2/a/manifests/1", "registry.example.org /token?scope=repository%3Aa%3Apull",
				"registry.example.org:5050 /v2/a/manifests/1 Bearer t1",
			},
		},
		{
			name: "itself, by http", registry: &registry{challenge: `Bearer realm="http://registry.example.org:80/token"`},
			target: "http://registry.example.org/v2/a/manifests/1", status: 200, asked: []string{
				"registry.example.org /v2/a/manifests/1", "registry.example.org:80 /token?scope=repository%3Aa%3Apull",
				"registry.example.org /v2/a/manifests/1 Bearer t1",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.target == "" {
				c.target = target
			}
			status, err := send(t, Authorize(c.hosts, nil, nil)(c.registry), c.target, c.basic)
			require.NoError(t, err)
			assert.Equal(t, c.status, status)
			assert.Equal(t, c.asked, c.registry.asked())
		})
	}
}

// B12: whoever answers 401 does not choose who is asked, and who gets credentials.
func TestHostileRealm(t *testing.T) {
	for _, realm := range []string{
		"https://decoy.example.com/token",
		"http://auth.example.com/token",      // listed, but in the clear
		"https://auth.example.com:444/token", // listed, but not this port
		"http://registry.example.org/token",  // a downgrade
		"http://127.0.0.1:9/token",
		"http://169.254.169.254/latest/meta-data",
		"https://user:password@registry.example.org/token",
		"https://registry.example.org.decoy.example.com/token",
		"https://notauth.example.com/token", "https://not.auth.example.com/token",
		"https://registry.example.org@decoy.example.com/token",
		"//registry.example.org/token",
		"/token", "file:///etc/passwd", "gopher://registry.example.org/token", "https:///token", "https://%zz/", "",
	} {
		t.Run(realm, func(t *testing.T) {
			g := &registry{challenge: fmt.Sprintf(`Bearer realm="%s",service="S"`, realm)}
			_, err := send(t, Authorize([]string{"auth.example.com"}, nil, nil)(g), target, credentials)
			require.ErrorContains(t, err, "auth-hosts")
			assert.Equal(t, []string{plain}, g.asked())
		})
	}
}

// What is configured otherwise than as Basic credentials is not ours to change.
func TestOtherCredentials(t *testing.T) {
	g := &registry{challenge: bearer}
	r, err := http.NewRequest(http.MethodGet, target, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer configured")
	res, err := Authorize(nil, nil, nil)(g).RoundTrip(r)
	require.NoError(t, err)
	assert.Equal(t, 401, res.StatusCode)
	assert.Equal(t, []string{plain + " Bearer configured"}, g.asked())
}

// A token is used until it has expired by the local clock, for its repository alone.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		life string
		good time.Duration // that long it is used
	}{
		{"", 54 * time.Second},
		{"300", 290 * time.Second},
		{`"300"`, 54 * time.Second}, // no number
		{"0", 54 * time.Second},
		{"-5", 54 * time.Second},
		{"2.5", 2250 * time.Millisecond},
		{"1e300", 24*time.Hour - 10*time.Second},
	} {
		t.Run(c.life, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			g := &registry{challenge: bearer, life: c.life}
			a := Authorize(nil, nil, func() time.Time { return now })(g)
			again := func(want ...string) {
				t.Helper()
				status, err := send(t, a, target, "")
				require.NoError(t, err)
				assert.Equal(t, 200, status)
				assert.Equal(t, want, g.asked())
			}
			again(plain, asks, plain+" Bearer t1")
			now = now.Add(c.good - time.Millisecond)
			again(plain + " Bearer t1")
			now = now.Add(time.Millisecond)
			again(asks, plain+" Bearer t2") // what is asked for is known
		})
	}
}

// A registry may have its tokens forgotten before they expire.
func TestTokenNotTaken(t *testing.T) {
	var good atomic.Int64
	good.Store(1)
	g := &registry{challenge: bearer, life: "300", takes: func(n int) bool { return int64(n) >= good.Load() }}
	a := Authorize(nil, nil, nil)(g)
	_, err := send(t, a, target, "")
	require.NoError(t, err)
	g.asked()
	good.Store(2)
	status, err := send(t, a, target, "")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.Equal(t, []string{plain + " Bearer t1", asks, plain + " Bearer t2"}, g.asked())
}

// Many requests at once fetch one token, also if the first of them loses a race.
func TestTokenShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &registry{challenge: bearer, slow: time.Second}
		a := Authorize(nil, nil, nil)(g)
		first, lose := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r, _ := http.NewRequestWithContext(first, http.MethodGet, target, nil)
			_, err := a.RoundTrip(r)
			assert.ErrorIs(t, err, context.Canceled)
		})
		time.Sleep(500 * time.Millisecond)
		for range 9 {
			wg.Go(func() {
				status, err := send(t, a, target, "")
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
			})
		}
		time.Sleep(time.Second + 100*time.Millisecond) // all wait for the first one's token
		lose()
		wg.Wait()
		fetched := 0
		for _, line := range g.asked() {
			if strings.Contains(line, "/token") {
				fetched++
			}
		}
		assert.Equal(t, 2, fetched, "one that was given up, one for all")
		assert.Equal(t, 1, g.tokens)
	})
}

// What is kept stays bounded, whatever repositories are asked for.
func TestBounded(t *testing.T) {
	g := &registry{challenge: `Bearer realm="https://registry.example.org/token"`}
	a := Authorize(nil, nil, nil)(g).(*authorizer)
	for n := range maxWants + 100 {
		_, err := send(t, a, fmt.Sprintf("https://registry.example.org/v2/r%d/manifests/1", n), "")
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(a.wants), maxWants)
	assert.LessOrEqual(t, len(a.grants), maxWants)
	assert.Empty(t, a.fetching)
}

func TestReadToken(t *testing.T) {
	for _, bad := range []string{
		"", "null", "[]", "{}", `{"token": ""}`, `{"token": 1}`, `{"token": "a\nb"}`, `{"token": "a b"}`, `{"token": "ä"}`, "<html>",
	} {
		_, _, err := readToken([]byte(bad))
		assert.Error(t, err, bad)
	}
	token, _, err := readToken([]byte(`{"token": "a", "access_token": "b"}`))
	assert.NoError(t, err)
	assert.Equal(t, "a", token)
}

func TestChallenges(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []string
		want   []challenge
	}{
		{"nothing", nil, nil},
		{"a scheme", []string{"Negotiate"}, []challenge{{"negotiate", map[string]string{}}}},
		{"bare values", []string{"BEARER Realm=r , service = s"}, []challenge{{"bearer", map[string]string{"realm": "r", "service": "s"}}}},
		{"quoted", []string{`Bearer realm="a,\"b\\ c=d"`}, []challenge{{"bearer", map[string]string{"realm": `a,"b\ c=d`}}}},
		{"two in one field", []string{`Basic realm="x", Bearer realm="y",scope="a:b:pull,push"`}, []challenge{
			{"basic", map[string]string{"realm": "x"}}, {"bearer", map[string]string{"realm": "y", "scope": "a:b:pull,push"}},
		}},
		{"two fields", []string{`Basic realm="x"`, `Bearer realm="y"`}, []challenge{
			{"basic", map[string]string{"realm": "x"}}, {"bearer", map[string]string{"realm": "y"}},
		}},
		{"the first counts", []string{`Bearer realm="x",realm="y"`}, []challenge{{"bearer", map[string]string{"realm": "x"}}}},
		{"a field begins anew", []string{"Basic", `realm="x"`}, []challenge{{"basic", map[string]string{}}, {"realm", map[string]string{}}}},
		{"no end", []string{`Bearer realm="x`}, []challenge{{"bearer", map[string]string{"realm": ""}}}},
		{"no end of an escape", []string{`Bearer realm="x\`}, []challenge{{"bearer", map[string]string{"realm": ""}}}},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, challenges(c.fields)) })
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(bearer)
	f.Add(`Basic realm="x", Bearer a=b c`)
	f.Add("\x10\x00,=")
	registry, _ := url.Parse(target)
	f.Fuzz(func(t *testing.T, field string) {
		a := Authorize([]string{"auth.example.com"}, nil, nil)(nil).(*authorizer)
		w, ok, err := a.wanted(registry, "app", []string{field})
		if err != nil || !ok || w.realm == "" {
			return
		}
		realm, err := url.Parse(w.realm)
		if err != nil || realm.Scheme != "https" || realm.User != nil ||
			!strings.EqualFold(realm.Hostname(), "registry.example.org") && !strings.EqualFold(realm.Hostname(), "auth.example.com") {
			t.Fatalf("tokens from %q", w.realm)
		}
	})
}

func FuzzReadToken(f *testing.F) {
	f.Add([]byte(`{"token": "a", "expires_in": 60}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, life, err := readToken(body)
		if err == nil && (token == "" || life <= 0 || life > maxLife) {
			t.Fatal(token, life)
		}
	})
}
