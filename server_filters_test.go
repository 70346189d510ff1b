package cacheproxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// content is an origin of one body for every path.
func contentOrigin(t *testing.T) *httptest.Server {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") }))
	t.Cleanup(origin.Close)
	return origin
}

// E016, E021: what is counted outlives a reload as long as kind and name stay.
func TestFiltersReload(t *testing.T) {
	origin, dir := contentOrigin(t), t.TempDir()
	audit := filepath.Join(dir, "audit")
	config := func(text string) *Config {
		c, _ := must(t, "upstream: [{server: '"+origin.URL+"'}]\n"+text)
		return c
	}
	one := `
filters:
- {kind: HeaderCounter, name: c, headers: [Cookie]}
- {kind: RateLimiter, name: r, requests: 3, per: 1h}
- {kind: Audit, name: a, file: ` + audit + `}
flow: [{filter: a}, {filter: c}, {filter: r}]
`
	c := config(one)
	s := serverOf(t, "upstream: [{server: '"+origin.URL+"'}]\n"+one, io.Discard)
	c.Storage.Local.Path = s.revision().config.Storage.Local.Path
	status := func(name string) FilterStatus {
		all := s.operators.status().Filters
		i := slices.IndexFunc(all, func(f FilterStatus) bool { return f.Name == name })
		require.GreaterOrEqual(t, i, 0)
		return all[i]
	}
	get := func() int { return ask(s, "GET", "/x", "Cookie", "a=b").Code }
	assert.Equal(t, []int{200, 200}, []int{get(), get()})
	before := s.revision().filter("RateLimiter", "r")
	require.NoError(t, s.Reload(c))
	assert.Same(t, before, s.revision().filter("RateLimiter", "r"), "what is the same goes on")
	assert.Equal(t, []int{200, 429}, []int{get(), get()}, "with what was spent")

	other := config(strings.NewReplacer("[Cookie]", "[X-New, Cookie]", "name: r,", "name: q,", "filter: r", "filter: q").Replace(one))
	other.Storage.Local.Path = c.Storage.Local.Path
	require.NoError(t, s.Reload(other))
	assert.Equal(t, []int{200, 200, 200, 429}, []int{get(), get(), get(), get()}, "another name is another filter")
	assert.Equal(t, map[string]int64{"X-New": 0, "Cookie": 8}, status("c").Status)
	assert.EqualValues(t, 8, status("c").Handled)
	assert.Equal(t, map[string]int64{"rateLimited": 1}, status("q").Results)
	text, err := os.ReadFile(audit)
	require.NoError(t, err)
	assert.Equal(t, 8, strings.Count(string(text), "\n"), "refusals behind it too")
	assert.Contains(t, string(text), `"status":429`)

	bad := config("filters: [{kind: Audit, name: a, file: /nowhere/audit}]\nflow: [{filter: a}]")
	bad.Storage.Local.Path = c.Storage.Local.Path
	err = s.Reload(bad)
	require.ErrorContains(t, err, "config.yaml:2: filters[0]: open /nowhere/audit")
	assert.Len(t, s.revision().filters, 3, "all stays as it was")
	assert.Equal(t, 429, get())

	none := config("")
	none.Storage.Local.Path = c.Storage.Local.Path
	require.NoError(t, s.Reload(none))
	assert.Equal(t, 200, get())
	assert.Zero(t, before.holders.Load(), "nobody has it")
	body, err := json.Marshal(s.operators.status())
	require.NoError(t, err)
	assert.NotContains(t, string(body), "filters")
}

// Hits are not kept ready where a filter is to see them, and nothing is in the way
// where there is none.
func TestFlowAndHot(t *testing.T) {
	origin := contentOrigin(t)
	for flow, observes := range map[string]bool{
		"": false, "flow: [{filter: cache}]": false, "flow: [{filter: policy}]": false, "flow: [{filter: policy}, {filter: near}]": true,
	} {
		s := serverOf(t, `
filters:
- {kind: ClientNetworks, name: near, allow: [192.0.2.0/24]}
- {kind: AllowDeny, name: policy, deny: [bad]}
upstream: [{server: '`+origin.URL+`'}]
`+flow, io.Discard)
		f := s.revision().flow(s.revision().hubs[0])
		assert.Equal(t, observes, f.Observes(), flow)
		assert.Equal(t, !strings.Contains(flow, "policy"), f == nil, flow)
		assert.Equal(t, 200, ask(s, "GET", "/x").Code)
	}
}

// The table of types that tell of dates is right.
func TestDated(t *testing.T) {
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
	require.NoError(t, err)
	defer l.Close()
	mirror, err := url.Parse("http://example.org")
	require.NoError(t, err)
	for name, m := range hubs {
		h, err := m.new(hub.Options{Name: "h", Mirrors: []*url.URL{mirror}, Ledger: l}, &HubOptions{})
		require.NoError(t, err, name)
		_, tells := h.(hub.Dater)
		assert.Equal(t, tells, slices.Contains(dated, name), name)
	}
}
