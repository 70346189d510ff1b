package cacheproxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// TestFilteredReloadUnderLoad: filters that come, go and change while requests are
// under way refuse none of them, and count each once (E016, E021).
func TestFilteredReloadUnderLoad(t *testing.T) {
	origin := proxytest.NewOrigin(t)
	for i := range 50 {
		origin.Reply("GET", fmt.Sprint("/", i), proxytest.Reply{Body: proxytest.Text("content")})
	}
	first := "- {kind: HeaderCounter, name: c, headers: [%s]}\n- {kind: ResponseAdaptor, name: a, header: {set: {X-Round: '%d'}}}\n"
	flow := "flow: [{filter: c, jumpIf: {invalidHeader: END}}, {filter: a}"
	config := func(i int) string {
		text := "upstream: [{server: '" + origin.URL() + "'}]\nfilters:\n" + fmt.Sprintf(first, []string{"Cookie", "X-Other, Cookie", "Cookie"}[i%3], i)
		if i%2 == 1 {
			return text + "- {kind: RateLimiter, name: r, requests: 1000000}\n- {kind: AllowDeny, name: d, deny: ['pkg:npm/x']}\n" + flow + ", {filter: r}, {filter: d}]"
		}
		return text + flow + "]"
	}
	r := run(t, config(0))
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var done atomic.Int64
	for n := range 4 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: n == 0}
			defer transport.CloseIdleConnections()
			c := http.Client{Transport: transport}
			for i := n; ctx.Err() == nil; i++ {
				req, err := http.NewRequest(http.MethodGet, fmt.Sprint(r.url, "/", i%50), nil)
				require.NoError(t, err)
				req.Header.Set("Cookie", "a=b")
				resp, err := c.Do(req)
				if !assert.NoError(t, err) {
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if !assert.NoError(t, err) || !assert.Equal(t, 200, resp.StatusCode) || !assert.Equal(t, "content", string(body)) {
					return
				}
				done.Add(1)
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 1; i <= 30; i++ {
		<-tick.C
		r.reload(config(i))
	}
	stop()
	clients.Wait()
	require.Positive(t, done.Load())
	code, text := told(t, r.Server, "/api/v1/filters")
	require.Equal(t, 200, code, text)
	var all []struct {
		Name    string
		Handled int64
		Status  map[string]int64
	}
	require.NoError(t, json.Unmarshal([]byte(text), &all))
	require.Equal(t, "c", all[0].Name)
	assert.Equal(t, done.Load(), all[0].Handled)
	assert.Equal(t, done.Load(), all[0].Status["Cookie"], "each counted once, whichever of the filters saw it")
	_, header, _ := r.get("/-/healthz")
	assert.Equal(t, "31", header.Get("X-Config-Version"))
	t.Log(done.Load(), "answers")
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Lines of the log that are lost are a metric.
func TestLostLinesAreCounted(t *testing.T) {
	cfg, _, err := cacheproxy.LoadDefault()
	require.NoError(t, err)
	cfg.Storage.Local.Path = t.TempDir()
	logger, err := cfg.NewLogger(fullDisk{}, "test")
	require.NoError(t, err)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: logger.Logger, Lines: logger})
	require.NoError(t, err)
	defer s.Close()
	logger.Info("lost")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, text := told(t, s, "/metrics")
		for line := range strings.Lines(text) {
			if n, ok := strings.CutPrefix(line, "cache_proxy_log_dropped_total "); ok {
				assert.NotEqual(c, "0\n", n)
				return
			}
		}
		assert.Fail(c, "no such metric")
	}, 10*time.Second, 20*time.Millisecond)
	logger.Close()
}
