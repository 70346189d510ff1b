package observe

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// scrape is what Prometheus sees, line by line.
func scrape(t *testing.T, o Options) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	Metrics(o).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code, w.Body)
	series := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "} "); ok {
			series[name+"}"] = value
		} else if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			series[name] = value
		}
	}
	return series
}

func TestMetricsOfHubs(t *testing.T) {
	hubs := &Hubs{}
	h := hubs.Hub("npm")
	require.Same(t, h, hubs.Hub("npm"))
	for _, c := range []struct {
		outcome exchange.Outcome
		bytes   int64
	}{
		{exchange.Outcome{Hit: true}, 10},
		{exchange.Outcome{Hit: true, Stale: true}, 20},
		{exchange.Outcome{Fwd: exchange.FwdStale, FwdStatus: 304}, 40},
		{exchange.Outcome{Fwd: exchange.FwdURIMiss, Collapsed: true}, 80},
		{exchange.Outcome{Fwd: exchange.FwdURIMiss}, 160},
		{exchange.Outcome{Fwd: exchange.FwdBypass}, 320},
	} {
		h.Answered(c.outcome)
		h.Sent(c.outcome, c.bytes)
	}
	h.Refused("host")
	h.Refused("never heard of")
	hubs.Hub("idle")
	s := scrape(t, Options{Hubs: hubs, Version: "v1"})
	for series, want := range map[string]string{
		`cache_proxy_build_info{version="v1"}`:                           "1",
		`cache_proxy_requests_total{hub="npm",outcome="hit"}`:            "1",
		`cache_proxy_requests_total{hub="npm",outcome="stale"}`:          "1",
		`cache_proxy_requests_total{hub="npm",outcome="revalidated"}`:    "1",
		`cache_proxy_requests_total{hub="npm",outcome="coalesced"}`:      "1",
		`cache_proxy_requests_total{hub="npm",outcome="miss"}`:           "1",
		`cache_proxy_requests_total{hub="npm",outcome="bypass"}`:         "1",
		`cache_proxy_requests_total{hub="idle",outcome="hit"}`:           "0",
		`cache_proxy_sent_bytes_total{hub="npm",source="store"}`:         "70",
		`cache_proxy_sent_bytes_total{hub="npm",source="shared"}`:        "80",
		`cache_proxy_sent_bytes_total{hub="npm",source="upstream"}`:      "480",
		`cache_proxy_saved_bytes_total{hub="npm"}`:                       "150",
		`cache_proxy_refused_total{hub="npm",reason="host"}`:             "1",
		`cache_proxy_refused_total{hub="npm",reason="other"}`:            "1",
		`cache_proxy_refused_total{hub="npm",reason="object-size"}`:      "0",
		`cache_proxy_refused_total{hub="idle",reason="upstream"}`:        "0",
		`cache_proxy_refused_total{hub="npm",reason="never heard of"}`:   "",
		`cache_proxy_requests_total{hub="nobody",outcome="hit"}`:         "",
		`cache_proxy_mirror_requests_total{hub="npm",origin=""}`:         "",
		`cache_proxy_sent_bytes_total{hub="idle",source="upstream"}`:     "0",
		`cache_proxy_saved_bytes_total{hub="idle"}`:                      "0",
		`cache_proxy_requests_total{hub="idle",outcome="something new"}`: "",
	} {
		assert.Equal(t, want, s[series], series)
	}
	assert.NotEmpty(t, s["go_goroutines"], "the runtime's")
}

func TestMetricsOfNothing(t *testing.T) {
	var h *Hub
	h.Answered(exchange.Outcome{})
	h.Sent(exchange.Outcome{}, 1)
	h.Refused("host")
	assert.Equal(t, "1", scrape(t, Options{})[`cache_proxy_build_info{version=""}`])
}

func TestMetricsOfGroups(t *testing.T) {
	a := Mirror{Mirror: "http://a", Wins: 3, Failed: 1, Bytes: 1000, Answers: map[string]int64{"good": 3, "failed": 1},
		First: 20 * time.Millisecond, Rate: 1e6, Closed: true, Lag: time.Hour, HasLag: true}
	again := Mirror{Mirror: "http://a", Wins: 2, Bytes: 24, Answers: map[string]int64{"good": 2}} // for other paths
	b := Mirror{Mirror: "http://b", Answers: map[string]int64{}}
	group := Group{Hub: "apt", Requests: 100, Asked: 107, Hedges: 5, Explorations: 2, Switches: 1, Stripes: 4, Alone: 2, Mirrors: []Mirror{a, again, b}}
	s := scrape(t, Options{
		Groups: func() []Group { return []Group{group, {Hub: "apt", Origin: "files"}} },
		Store:  func() Store { return Store{Bytes: 5, Entries: 2, Evictions: 9, Damaged: 1, Scanned: true} },
		Cache: func() Cache {
			return Cache{Flights: 3, StoreErrors: 7, Full: 6, Wrong: 2, Bypassed: true, Kept: 11, Resumed: 12, ResumedBytes: 13, Dropped: 14}
		},
		Dropped: func() int64 { return 15 },
	})
	for series, want := range map[string]string{
		`cache_proxy_races_total{hub="apt",origin=""}`:                                             "100",
		`cache_proxy_races_total{hub="apt",origin="files"}`:                                        "0",
		`cache_proxy_mirror_requests_total{hub="apt",origin=""}`:                                   "107",
		`cache_proxy_hedges_total{hub="apt",origin=""}`:                                            "5",
		`cache_proxy_explorations_total{hub="apt",origin=""}`:                                      "2",
		`cache_proxy_switches_total{hub="apt",origin=""}`:                                          "1",
		`cache_proxy_stripes_total{hub="apt",origin=""}`:                                           "4",
		`cache_proxy_stripes_alone_total{hub="apt",origin=""}`:                                     "2",
		`cache_proxy_mirror_wins_total{hub="apt",mirror="http://a",origin=""}`:                     "5",
		`cache_proxy_fetched_bytes_total{hub="apt",mirror="http://a",origin=""}`:                   "1024",
		`cache_proxy_mirror_answers_total{hub="apt",mirror="http://a",origin="",outcome="good"}`:   "5",
		`cache_proxy_mirror_answers_total{hub="apt",mirror="http://a",origin="",outcome="failed"}`: "1",
		`cache_proxy_mirror_first_byte_seconds{hub="apt",mirror="http://a",origin=""}`:             "0.02",
		`cache_proxy_mirror_lag_seconds{hub="apt",mirror="http://a",origin=""}`:                    "3600",
		`cache_proxy_mirror_lag_seconds{hub="apt",mirror="http://b",origin=""}`:                    "",
		`cache_proxy_mirror_up{hub="apt",mirror="http://a",origin=""}`:                             "1",
		`cache_proxy_mirror_up{hub="apt",mirror="http://b",origin=""}`:                             "0",
		"cache_proxy_store_bytes":                                                                  "5",
		"cache_proxy_store_entries":                                                                "2",
		"cache_proxy_store_evictions_total":                                                        "9",
		"cache_proxy_store_damaged_total":                                                          "1",
		"cache_proxy_store_scanned":                                                                "1",
		"cache_proxy_flights":                                                                      "3",
		"cache_proxy_store_errors_total":                                                           "7",
		"cache_proxy_store_full_total":                                                             "6",
		"cache_proxy_wrong_content_total":                                                          "2",
		"cache_proxy_store_bypassed":                                                               "1",
		"cache_proxy_parts_kept_total":                                                             "11",
		"cache_proxy_resumes_total":                                                                "12",
		"cache_proxy_resumed_bytes_total":                                                          "13",
		"cache_proxy_parts_dropped_total":                                                          "14",
		"cache_proxy_log_dropped_total":                                                            "15",
	} {
		assert.Equal(t, want, s[series], series)
	}
	assert.EqualValues(t, 3, a.Answers["good"], "what was given is not written to")
}

// A million requests for as many paths, by as many clients and refused for as many
// reasons leave the number of series as it was.
func TestMillionPaths(t *testing.T) {
	hubs := &Hubs{}
	h := hubs.Hub("npm")
	h.Answered(exchange.Outcome{Hit: true})
	before := len(scrape(t, Options{Hubs: hubs}))
	require.Greater(t, before, len(outcomes)+len(sources)+len(reasons))
	const n = 1_000_000
	for i := range n {
		o := exchange.Outcome{Hit: i%3 == 0, Stale: i%5 == 0, Collapsed: i%7 == 0, Fwd: exchange.FwdURIMiss, FwdStatus: i, TTL: time.Duration(i)}
		h.Answered(o)
		h.Sent(o, int64(i))
		h.Refused(strconv.Itoa(i))
	}
	s := scrape(t, Options{Hubs: hubs})
	assert.Len(t, s, before)
	assert.Equal(t, "1e+06", s[`cache_proxy_refused_total{hub="npm",reason="other"}`])
}

// A hit's counting neither allocates nor locks.
func TestCountingIsCheap(t *testing.T) {
	h := (&Hubs{}).Hub("npm")
	o := exchange.Outcome{Hit: true}
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		h.Answered(o)
		h.Sent(o, 1000)
		h.Refused("host")
	}))
}

func BenchmarkCount(b *testing.B) {
	h := (&Hubs{}).Hub("npm")
	o := exchange.Outcome{Hit: true}
	for b.Loop() {
		h.Answered(o)
		h.Sent(o, 1000)
	}
}
