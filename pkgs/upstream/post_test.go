package upstream

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

func TestPostGoesToOne(t *testing.T) {
	var asked atomic.Int64
	echo := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		assert.EqualValues(t, len(body), r.ContentLength)
		io.WriteString(w, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body))
	}
	for _, mode := range []string{Adaptive, All, Ordered} {
		asked.Store(0)
		g, err := New(Options{Race: Race{Mode: mode}, Mirrors: mirrors(t, refusing(t), origin(t, echo).URL, origin(t, echo).URL)})
		require.NoError(t, err)
		defer g.Close()
		req := request("/audit")
		req.Post, req.Policy.Class = []byte("question"), freshness.Passthrough
		req.Header = http.Header{"Content-Type": {"application/json"}}
		for range 2 * sick { // until the first is known to be down
			if resp, err := g.Get(t.Context(), req); err == nil {
				resp.Body.Close()
			}
		}
		before := asked.Load()
		resp, text := get(t, g, req)
		assert.Equal(t, 200, resp.Entry.Status)
		assert.Equal(t, "POST /audit application/json question", text)
		assert.Equal(t, before+1, asked.Load(), "%s: never twice", mode)
	}
}

func TestPostIsNotRedirected(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var elsewhere atomic.Int64
		decoy := origin(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
		g, err := New(Options{Mirrors: mirrors(t, origin(t, says(status, "", "Location", decoy.URL+"/x")).URL)})
		require.NoError(t, err)
		defer g.Close()
		req := request("/audit")
		req.Post = []byte("secret")
		assert.Equal(t, 502, failure(t, g, req).Status)
		assert.Zero(t, elsewhere.Load())
	}
}

func TestAbsent(t *testing.T) {
	g, err := New(Options{Absent: []int{403}, Mirrors: mirrors(t, origin(t, says(403, "denied")).URL, origin(t, says(404, "none")).URL)})
	require.NoError(t, err)
	defer g.Close()
	resp, _ := get(t, g, request("/x"))
	assert.Equal(t, 404, resp.Entry.Status)

	g, err = New(Options{Absent: []int{403}, Mirrors: mirrors(t, origin(t, says(403, "denied")).URL)})
	require.NoError(t, err)
	defer g.Close()
	resp, _ = get(t, g, request("/x"))
	assert.Equal(t, 404, resp.Entry.Status, "the mirrors' word for it is not the client's")
}
