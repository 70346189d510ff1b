package cacheproxy_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// What is known of mirrors is written at the end, and known again after.
func TestLeagueIsKept(t *testing.T) {
	fast, slow := proxytest.NewOrigin(t), proxytest.NewOrigin(t)
	fast.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x")})
	slow.Reply("GET", "*", proxytest.Reply{Body: proxytest.Text("x"), Delay: 100 * time.Millisecond})
	dir := t.TempDir()
	config := "upstream: [{server: '" + slow.URL() + "'}, {server: '" + fast.URL() + "'}]"
	ask := func(from, to byte) {
		url, stop := start(t, proxytest.Env{Config: config, Dir: dir})
		defer stop()
		for c := from; c < to; c++ {
			resp, err := http.Get(url + "/" + string(c))
			require.NoError(t, err)
			resp.Body.Close()
		}
	}
	cfg := cacheproxy.Default()
	cfg.Storage.Local.Path = dir
	_, err := cacheproxy.Standings(cfg)
	require.Error(t, err, "no server has run")

	ask('a', 'k')
	all, err := cacheproxy.Standings(cfg)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Len(t, all[0].Mirrors, 2)
	assert.EqualValues(t, 10, all[0].Requests)
	assert.EqualValues(t, 10, all[0].Mirrors[1].Wins)
	assert.Positive(t, all[0].Mirrors[1].Weight)

	before := len(slow.Requests("/l"))
	ask('l', 'm')
	assert.Equal(t, before, len(slow.Requests("/l")), "the record says who is fast")
}

// The rate of all mirrors together.
func TestUpstreamRate(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	origin.Reply("GET", "*", proxytest.Reply{Body: proxytest.Random(1<<20, 1)})
	url, stop := start(t, proxytest.Env{
		Config: "limits: {upstream-rate: 1MiB}\nupstream: [{server: '" + origin.URL() + "'}]", Dir: t.TempDir(),
	})
	defer stop()
	begin := time.Now()
	r := proxytest.Do(url, "GET", "/a", nil).Wait()
	require.NoError(t, r.Err)
	assert.Greater(t, time.Since(begin), 300*time.Millisecond, "a mebibyte at a mebibyte a second, less the burst and what is read last")
}
