package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNumbersInWords(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"no bytes", sizeText(0), "0 B"},
		{"bytes", sizeText(1023), "1023 B"},
		{"a unit", sizeText(1024), "1.0 KiB"},
		{"many of it", sizeText(200 << 20), "200 MiB"},
		{"as much as there is", sizeText(1 << 62), "4096 PiB"},
		{"less than nothing", sizeText(-2048), "-2.0 KiB"},
		{"count", countText(999), "999"},
		{"large count", countText(1234567), "1\u202f234\u202f567"},
		{"negative count", countText(-123456), "-123\u202f456"},
		{"one object", objectsText(1), "1 object"},
		{"objects", objectsText(0), "0 objects"},
		{"a share of nothing", percentText(0, 0), "–"},
		{"nothing of something", percentText(0, 7), "0\u00a0%"},
		{"a third", percentText(1, 3), "33.3\u00a0%"},
		{"a little is not nothing", percentText(1, 1e9), "<\u00a00.1\u00a0%"},
		{"almost all is not all", percentText(1e9-1, 1e9), "99.9\u00a0%"},
		{"all", percentText(5, 5), "100\u00a0%"},
		{"microseconds", spanText(250 * time.Microsecond), "250 µs"},
		{"milliseconds", spanText(250 * time.Millisecond), "250 ms"},
		{"a few seconds", spanText(2500 * time.Millisecond), "2.5 s"},
		{"seconds", spanText(42 * time.Second), "42 s"},
		{"minutes", spanText(61 * time.Second), "1 min"},
		{"hours", spanText(90 * time.Minute), "1 h 30 min"},
		{"days", spanText(49 * time.Hour), "2 d"},
		{"before", spanText(-time.Second), "−1.0 s"},
		{"base", briefText("https://mirror.example.org/debian/"), "mirror.example.org/debian"},
		{"query", string(queryText("hub", "npm", "after", "", "q", "a&b")), "hub=npm&q=a%26b"},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, c.got) })
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name, q string
		want    bool
	}{
		{"nothing asked", " ", true},
		{"any case", "LINUX", true},
		{"words in any order", "deb linux", true},
		{"of several texts", "debian linux", true},
		{"a word that is not there", "linux rpm", false},
		{"not across texts", "debian/pool", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, matches(c.q, "debian", "/pool/linux.deb"))
		})
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		rival Rival
		want  string
	}{
		{"behind", Rival{Ending: "outrun", Answered: true, Behind: 12 * time.Millisecond}, "+12 ms"},
		{"given up", Rival{Ending: "outrun", Behind: time.Second}, "given up after +1.0 s"},
		{"first, but slow", Rival{Ending: "good", Answered: true, Behind: -time.Millisecond}, "1 ms sooner, but slower"},
		{"without the file", Rival{Ending: "absent", Answered: true}, "absent"},
		{"a word of two", Rival{Ending: "timed-out"}, "timed out"},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, c.rival.Lost()) })
	}
}

// TestManyFlights: what a browser is given does not grow with what is under way.
func TestManyFlights(t *testing.T) {
	b := board()
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	b.Now = func() time.Time { return now }
	var all []Flight
	for i := range 1000 {
		all = append(all, Flight{Hub: "debian", Path: fmt.Sprintf("/pool/%03d.deb", i), Mirror: "http://a.example.org", Begun: now.Add(-time.Minute), Bytes: 10, Total: 100, Rate: 9, Clients: 1})
	}
	p := newPages(&Options{Board: b, Flights: func() []Flight { return all }}, nil)
	h := New(Options{Board: b, Flights: func() []Flight { return all }})
	view := func(target string) *overview {
		t.Helper()
		v, err := p.overview(request(target))
		require.NoError(t, err)
		return v.(*overview)
	}
	v := view("/")
	assert.Len(t, v.Flights, maxFlights)
	assert.Equal(t, 1000, v.Found)
	assert.Equal(t, 10*time.Second, v.Flights[0].Left)
	assert.Equal(t, time.Minute, v.Flights[0].Age)
	v = view("/?q=99+deb")
	assert.Len(t, v.Flights, 19, "099 to 999, and 990 to 998")
	assert.Equal(t, 1000, v.Flying)

	html := ask(h, "GET", "/", nil).Body.String()
	assert.Equal(t, maxFlights, strings.Count(html, "<progress "))
	assert.Contains(t, html, "The oldest 100 of 1\u202f000 are shown.")
	html = ask(h, "GET", "/?q=none+of+them", nil).Body.String()
	assert.Contains(t, html, "None of the 1\u202f000 downloads under way matches the filter.")
	all[0].Path = `/<script>alert("x")</script>`
	assert.NotContains(t, ask(h, "GET", "/", nil).Body.String(), "<script>alert")
	all = all[:0]
	assert.Contains(t, ask(h, "GET", "/", nil).Body.String(), "Nothing is being downloaded.")
}

// TestPagesSay: what the board has is on its page, in order.
func TestPagesSay(t *testing.T) {
	b := board()
	now := b.Now()
	b.Overview = func() Overview {
		return Overview{
			Version: "v1.2.3", Started: now.Add(-time.Hour), Seconds: 90, Stored: 3 << 30, Entries: 12, Draining: true, Trouble: "The store is full.",
			Hubs: []HubCounts{{Name: "quiet", Type: "files"}, {Name: "busy", Type: "npm", Offline: true, Totals: Totals{Requests: 4, Hits: 3, Sent: 4 << 20, Saved: 3 << 20}}},
		}
	}
	b.Leagues = func() []League {
		return []League{{Hub: "npm", Origin: "files", Races: 7, Mirrors: []Mirror{
			{Mirror: "http://slow.example.org", State: "open", Wins: 1, Asked: 4, Error: "connection refused", ErrorAt: now.Add(-time.Minute)},
			{Mirror: "http://quick.example.org", State: "closed", Wins: 3, Asked: 4, Rate: 1 << 20, First: 20 * time.Millisecond},
			{Mirror: "http://odd.example.org", State: "closed", Errors: 0.5, Asked: 9},
			{Mirror: "http://new.example.org", State: "closed"},
		}}}
	}
	var races []Race
	for i := range 30 {
		races = append(races, Race{Hub: "npm", Path: fmt.Sprintf("/%02d", i), At: now, Winner: "http://quick.example.org", Took: time.Millisecond, Rivals: []Rival{{Mirror: "http://slow.example.org", Ending: "failed"}}})
	}
	b.Races = func() []Race { return races }
	b.Problems = func() []Problem {
		return []Problem{
			{Time: now, Level: "warn", Message: "mirror is down", Attributes: map[string]string{"mirror": "http://slow.example.org"}},
			{Time: now, Level: "error", Message: "content was lost", Attributes: map[string]string{"key": "npm:/x"}},
		}
	}
	h := New(Options{Board: b})
	for _, c := range []struct {
		name, path string
		has        []string // in this order
		lacks      string
	}{
		{"overview", "/", []string{"Draining", "The store is full.", "3.0 MiB", "75\u00a0%", "≈ 1 min", "75\u00a0%", "12 objects", "/05", "failed", ">busy<", "offline", ">quiet<"}, "/06"},
		{"mirrors", "/mirrors", []string{"7 requests", "quick.example.org", "good", "75\u00a0%", "20 ms", "1.0 MiB/s", "slow.example.org", "connection refused", "1 min ago", "down", "odd.example.org", "unsteady", "new.example.org", "not asked", "/19"}, "/20"},
		{"problems", "/problems", []string{"2 of 2", "mirror is down", "content was lost", "npm:/x"}, ""},
		{"problems of a level", "/problems?level=error", []string{"1 of 2", "content was lost"}, "mirror is down"},
		{"problems with a word", "/problems?q=SLOW.example", []string{"1 of 2", "mirror is down"}, "content was lost"},
		{"problems that there are not", "/problems?q=none", []string{"0 of 2", "None of them matches"}, "None since"},
		{"configuration", "/configuration", []string{"running since", "listen: &#39;&#39;"}, "Reload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(h, "GET", c.path, nil)
			require.Equal(t, 200, w.Code)
			rest := w.Body.String()
			for _, want := range c.has {
				_, after, ok := strings.Cut(rest, want)
				require.True(t, ok, "%q is not there, or not in its order", want)
				rest = after
			}
			if c.lacks != "" {
				assert.NotContains(t, w.Body.String(), c.lacks)
			}
		})
	}
}

// TestPageFailed: what cannot be shown says why, with its status.
func TestPageFailed(t *testing.T) {
	b := board()
	b.Config = func() (string, error) { return "", fmt.Errorf("nobody knows") }
	h := New(Options{Board: b})
	w := ask(h, "GET", "/configuration", nil)
	assert.Equal(t, 500, w.Code)
	assert.Contains(t, w.Body.String(), "<h1>Not shown</h1>")
	assert.Equal(t, 404, ask(h, "GET", "/content", nil).Code, "without a store there is no content")
}
