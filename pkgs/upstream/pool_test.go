package upstream

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// TestBefore: a group that takes the place of another goes on with its records,
// numbers and connections, as far as mirrors are reached alike; the connections
// end with the last group.
func TestBefore(t *testing.T) {
	var opened, closed atomic.Int64
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "abc") }))
	origin.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	origin.Start()
	t.Cleanup(origin.Close)
	u, err := url.Parse(origin.URL)
	require.NoError(t, err)
	away, err := url.Parse("http://127.0.0.1:1")
	require.NoError(t, err)
	group := func(before *Group, change func(*Options)) *Group {
		o := Options{Mirrors: []Mirror{{Server: u}}, Before: before}
		if change != nil {
			change(&o)
		}
		g, err := New(o)
		require.NoError(t, err)
		return g
	}
	get := func(g *Group) {
		resp, err := g.Get(t.Context(), &exchange.Request{Key: exchange.Key{Hub: "x", Path: "/x"}, Target: "/x"})
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
	}
	first := group(nil, nil)
	get(first)
	second := group(first, func(o *Options) { // another mirror beside it, another mode
		o.Mirrors = append(o.Mirrors, Mirror{Server: away, Priorities: []Priority{{Priority: -1}}})
		o.Race.Mode = Ordered
	})
	first.Close()
	get(second)
	assert.EqualValues(t, 1, opened.Load())
	assert.EqualValues(t, 2, second.Stats().Requests)
	assert.EqualValues(t, 2, second.Stats().Mirrors[0].Wins)
	assert.EqualValues(t, 6, second.Stats().Mirrors[0].Bytes)
	assert.Zero(t, second.Stats().Mirrors[1].Requests)

	_, err = New(Options{Mirrors: []Mirror{{Server: u}, {}}, Before: second})
	require.Error(t, err)
	third := group(second, func(o *Options) { o.Limits.Header = time.Second })
	get(third)
	assert.EqualValues(t, 2, opened.Load(), "reached otherwise")
	assert.EqualValues(t, 3, third.Stats().Mirrors[0].Wins)
	second.Close()
	assert.Eventually(t, func() bool { return closed.Load() == 1 }, 5*time.Second, time.Millisecond)
	fourth := group(first, nil)
	get(fourth)
	assert.EqualValues(t, 3, opened.Load(), "what is closed is not taken over")
	third.Close()
	fourth.Close()
	assert.Eventually(t, func() bool { return closed.Load() == 3 }, 5*time.Second, time.Millisecond)
}
