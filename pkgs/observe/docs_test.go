package observe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Each metric that the dashboard and the alert rules name is one that there is,
// with each label and each word that they select by.
func TestDashboardAndAlerts(t *testing.T) {
	hubs := &Hubs{}
	hubs.Hub("apt")
	mirror := Mirror{Mirror: "http://a", First: time.Second, Rate: 1, HasLag: true, Answers: map[string]int64{"good": 1}}
	series := scrape(t, Options{
		Hubs: hubs, Groups: func() []Group { return []Group{{Hub: "apt", Mirrors: []Mirror{mirror}}} },
		Store: func() Store { return Store{} }, Cache: func() Cache { return Cache{} }, Dropped: func() int64 { return 0 },
	})
	labels := map[string][]string{} // by metric: its label pairs
	for s := range series {
		name, rest, _ := strings.Cut(s, "{")
		labels[name] = append(labels[name], strings.Split(strings.TrimSuffix(rest, "}"), ",")...)
	}
	metric := regexp.MustCompile(`\b((?:cache_proxy|go|process)_[a-z_]+)\b(?:\{([^}]*)\})?`)
	selector := regexp.MustCompile(`([a-z]+)(=~|=)"([^"]*)"`)
	for file, least := range map[string]int{"../../docs/grafana/cache-proxy.json": 20, "../../docs/alerts.yaml": 10} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := metric.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\"`, `"`), -1)
		assert.Greater(t, len(found), least, file)
		for _, m := range found {
			require.Contains(t, labels, m[1], file)
			for _, s := range selector.FindAllStringSubmatch(m[2], -1) {
				if s[1] == "job" || strings.HasPrefix(s[3], "$") { // of Prometheus, and of the dashboard
					continue
				}
				for _, word := range strings.Split(s[3], "|") {
					assert.True(t, slices.Contains(labels[m[1]], s[1]+`="`+word+`"`), "%s: %s has no %s %q", file, m[1], s[1], word)
				}
			}
		}
	}
	text, err := os.ReadFile("../../docs/grafana/cache-proxy.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			ID      int
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	ids := map[int]bool{}
	for _, p := range board.Panels {
		assert.NotEmpty(t, p.Targets)
		ids[p.ID] = true
	}
	assert.Len(t, ids, len(board.Panels), "each panel has an id of its own")
}

// All expressions are PromQL. Prometheus's own tool reads them, where it is installed.
func TestExpressions(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	check := func(file string) string {
		out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput()
		require.NoError(t, err, "%s: %s", file, out)
		return string(out)
	}
	assert.Regexp(t, `SUCCESS: \d\d rules found`, check("../../docs/alerts.yaml"))

	text, err := os.ReadFile("../../docs/grafana/cache-proxy.json")
	require.NoError(t, err)
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, m := range regexp.MustCompile(`"expr": *("(?:[^"\\]|\\.)*")`).FindAllSubmatch(text, -1) {
		var expr string
		require.NoError(t, json.Unmarshal(m[1], &expr))
		expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$__interval", "1m").Replace(expr)
		n++
		fmt.Fprintf(&rules, "  - {record: 'panel:%d', expr: %s}\n", n, strconv.Quote(expr))
	}
	require.Greater(t, n, 15)
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	require.NoError(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	assert.Contains(t, check(file), fmt.Sprintf("SUCCESS: %d rules found", n))
}

// What counting costs a hit: to be compared with what a hit costs in all.
func BenchmarkCountHit(b *testing.B) {
	h := (&Hubs{}).Hub("npm")
	o := exchange.Outcome{Hit: true}
	for b.Loop() {
		h.Answered(o)
		h.Sent(o, 1000)
	}
}
