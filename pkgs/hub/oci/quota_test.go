package oci

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func rates(limit, remaining string) http.Header {
	return http.Header{limitField: {limit}, remainingField: {remaining}}
}

func TestReadQuota(t *testing.T) {
	for _, test := range []struct {
		name, limit, remaining string
		want                   Quota
		ok, low                bool
	}{
		{"as large registries have it", "100;w=21600", "76;w=21600", Quota{Limit: 100, Remaining: 76, Window: 21600}, true, false},
		{"a tenth", "100;w=21600", "10;w=21600", Quota{Limit: 100, Remaining: 10, Window: 21600}, true, true},
		{"plain numbers", "100", " 3 ", Quota{Limit: 100, Remaining: 3}, true, true},
		{"other parameters", `100;w=x;policy="a";w=60`, "50", Quota{Limit: 100, Remaining: 50, Window: 60}, true, false},
		{"none", "", "", Quota{}, false, false},
		{"half", "100", "", Quota{Limit: 100}, false, true},
		{"no limit", "0", "0", Quota{}, false, false},
		{"less than nothing", "100", "-1", Quota{Limit: 100}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, ok := readQuota(rates(test.limit, test.remaining))
			assert.Equal(t, test.ok, ok)
			assert.Equal(t, test.low, q.Low())
			assert.Equal(t, test.want, q)
		})
	}
}

func FuzzReadQuota(f *testing.F) {
	f.Add("100;w=21600", "76;w=21600")
	f.Add(";;w=", "9223372036854775808")
	f.Fuzz(func(t *testing.T, limit, remaining string) {
		if q, ok := readQuota(rates(limit, remaining)); ok {
			assert.Positive(t, q.Limit)
			assert.GreaterOrEqual(t, q.Remaining, int64(0))
			assert.GreaterOrEqual(t, q.Window, int64(0))
		}
	})
}

// TestLowQuota: a tag that has moved is not had from a registry that may hardly be
// asked any more, if there is something else to answer with.
func TestLowQuota(t *testing.T) {
	digest := digestOf(image)
	for _, test := range []struct {
		name      string
		remaining string
		stored    bool // the new manifest, under another tag
		old       bool // the tag
		asked     []string
		fails     bool
	}{
		{"enough", "50", false, true, []string{"HEAD " + tagged, "GET /v2/app/manifests/" + digest}, false},
		{"low", "9", false, true, []string{"HEAD " + tagged}, true},
		{"low, with nothing stored", "9", false, false, []string{"HEAD " + tagged, "GET /v2/app/manifests/" + digest}, false},
		{"low, but it costs nothing", "9", true, true, []string{"HEAD " + tagged, "GET /v2/app/manifests/" + digest}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := typed(types[ociManifest].mediaType, digest)
			header.Set(limitField, "100;w=60")
			header.Set(remainingField, test.remaining)
			r := &fake{answers: map[string]reply{"HEAD " + tagged: {header: header}, "/v2/app/manifests/" + digest: {header: header, body: image}}}
			o := hub.Options{Name: "docker", Cache: func(exchange.Source) exchange.Source {
				return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
					if !test.stored {
						return nil, &exchange.Error{Status: 504}
					}
					return &exchange.Response{Entry: &exchange.Entry{Key: req.Key, Status: 200}, Body: http.NoBody}, nil
				})
			}}
			h, err := New(o, Options{})
			require.NoError(t, err)
			p, err := locate(tagged)
			require.NoError(t, err)
			req := h.manifest(p, allTypes)
			if test.old {
				req.Validate = &exchange.Entry{Digest: exchange.Digest(sha256), Size: 7}
			}
			resp, err := h.Gate(r, r).Get(t.Context(), req)
			assert.Equal(t, test.fails, err != nil)
			if err == nil {
				resp.Body.Close()
			}
			assert.Equal(t, test.asked, r.asked)
			require.Len(t, h.Quotas(), 1)
			assert.EqualValues(t, 100, h.Quotas()[0].Limit)
		})
	}
}

// A meter is a registry of accounts with a number of requests each.
type meter struct {
	left  map[string]int
	asked []string
}

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	account := r.Header.Get("Authorization")
	if account == "" {
		res := deny(r, http.StatusUnauthorized, "")
		res.Header.Set("Www-Authenticate", "Basic")
		return res, nil
	}
	m.asked = append(m.asked, account)
	res := deny(r, http.StatusOK, "")
	if m.left[account] == 0 {
		res.StatusCode = http.StatusTooManyRequests
		return res, nil
	}
	m.left[account]--
	res.Header = rates("20;w=60", string(rune('0'+m.left[account])))
	return res, nil
}

func TestAccountsInTurn(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := &meter{left: map[string]int{"Basic a": 4, "Basic b": 3, "Basic c": 0}}
	rt := Authorize(nil, []string{"Basic c", "Basic b"}, func() time.Time { return now })(m)
	ask := func() *http.Response {
		t.Helper()
		r, err := http.NewRequest("GET", "https://r.example.org"+tagged, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Basic a")
		res, err := rt.RoundTrip(r)
		require.NoError(t, err)
		return res
	}
	assert.Equal(t, "3", ask().Header.Get(remainingField))
	assert.Empty(t, ask().Header.Get(remainingField), "a tenth is left, and the next request is another account's")
	assert.Equal(t, 200, ask().StatusCode)
	assert.Equal(t, []string{"Basic a", "Basic a", "Basic c", "Basic b"}, m.asked, "who refuses is passed over at once")

	m.asked = nil
	for range 2 {
		assert.Equal(t, 200, ask().StatusCode)
	}
	assert.Equal(t, []string{"Basic b", "Basic a"}, m.asked, "all are low, and this one has most left")
	m.left["Basic a"] = 0
	assert.Equal(t, 200, ask().StatusCode, "another one has a little")
	m.left["Basic b"] = 0
	assert.Equal(t, 429, ask().StatusCode)
	now = now.Add(time.Hour)
	m.left = map[string]int{"Basic a": 9, "Basic b": 9, "Basic c": 9}
	assert.Equal(t, 200, ask().StatusCode)
	assert.Equal(t, "7", ask().Header.Get(remainingField))
}
