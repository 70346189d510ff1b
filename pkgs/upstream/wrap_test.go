package upstream

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What a wrap asks elsewhere is bound by what binds redirects.
func TestWrap(t *testing.T) { // B8, B12
	var elsewhere atomic.Int64
	other := origin(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		w.Header().Set("X-Word", "please")
	})
	away := origin(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("X-Word"), "where a redirect leads, the wrap is not")
		w.Write([]byte("moved"))
	})
	home := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Word") == "":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/away":
			http.Redirect(w, r, away.URL+"/file", http.StatusTemporaryRedirect)
		default:
			w.Write([]byte("content for " + r.Header.Get("Authorization")))
		}
	})
	for _, test := range []struct {
		name    string
		allowed Allowed
		ok      bool
	}{
		{name: "loopback"},
		{name: "allowed", allowed: Allowed{Prefixes: loopback}, ok: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			elsewhere.Store(0)
			o := Options{Mirrors: mirrors(t, home.URL), Allowed: test.allowed}
			o.Mirrors[0].Token = "secret"
			wraps := 0
			o.Mirrors[0].Wrap = func(next http.RoundTripper) http.RoundTripper {
				wraps++
				return tripper(func(r *http.Request) (*http.Response, error) {
					res, err := next.RoundTrip(r)
					if err != nil || res.StatusCode != http.StatusUnauthorized {
						return res, err
					}
					res.Body.Close()
					ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, other.URL, nil)
					require.NoError(t, err)
					if res, err = next.RoundTrip(ask); err != nil {
						return nil, err
					}
					res.Body.Close()
					again := r.Clone(r.Context())
					again.Header.Set("X-Word", res.Header.Get("X-Word"))
					return next.RoundTrip(again)
				})
			}
			g := join(t, o)
			if !test.ok {
				assert.Equal(t, 502, failure(t, g, request("/file")).Status)
				assert.Zero(t, elsewhere.Load(), "a private host is not asked")
				return
			}
			_, text := get(t, g, request("/file"))
			assert.Equal(t, "content for Bearer secret", text)
			assert.EqualValues(t, 1, elsewhere.Load())
			_, text = get(t, g, request("/away"))
			assert.Equal(t, "moved", text)
			assert.Equal(t, 1, wraps, "once a mirror")
		})
	}
}
