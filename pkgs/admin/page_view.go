package admin

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of what a browser is given, however much there is.
const (
	maxFlights   = 100
	maxRaces     = 20
	maxRacesHere = 6 // on the first page
)

// functions are what templates say numbers with.
var functions = template.FuncMap{
	"bytes":   sizeText,
	"rate":    func(n float64) string { return sizeText(int64(n)) + "/s" },
	"count":   countText,
	"objects": objectsText,
	"percent": percentText,
	"span":    spanText,
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"hour":    func(t time.Time) string { return t.UTC().Format("15:04:05 UTC") },
	"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"query":   queryText,
	"dict":    dict,
	"brief":   briefText,
}

// sizeText is bytes in a unit of 1024 that leaves up to four digits.
func sizeText(bytes int64) string {
	v, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for len(units) > 1 && math.Abs(v) >= 1024 {
		v, units = v/1024, units[1:]
	}
	if units[0] == "B" || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[0])
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// countText has its digits in groups of three.
func countText(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// objectsText is so many objects.
func objectsText(n int64) string {
	if n == 1 {
		return "1 object"
	}
	return countText(n) + " objects"
}

// percentText is a share of whole; a dash if there is no whole.
func percentText(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	v := 100 * float64(part) / float64(whole)
	switch {
	case v > 99.9 && part < whole: // 100 % is said of nothing less
		v = 99.9
	case 0 < v && v < 0.1: // nor 0 % of something
		return "<\u00a00.1\u00a0%"
	}
	return fmt.Sprintf("%.3g\u00a0%%", v)
}

// spanText is a duration in its largest one or two units.
func spanText(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + spanText(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// briefText is a base URL without its scheme.
func briefText(base string) string {
	if _, rest, ok := strings.Cut(base, "://"); ok {
		base = rest
	}
	return strings.TrimSuffix(base, "/")
}

// queryText is a query of names and values.
func queryText(pairs ...string) template.URL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return template.URL(q.Encode()) // it is escaped
}

// dict is several values for a template that takes one.
func dict(pairs ...any) map[string]any {
	all := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	return all
}

// An overview is the first page.
type overview struct {
	Overview
	Now     time.Time
	Total   Totals
	Saving  time.Duration
	Chart   *chart
	Q       string
	Flights []flight // so many of them
	Flying  int      // all, whatever Q is
	Found   int
	Races   []Race
}

type flight struct {
	Flight
	ID   string
	Age  time.Duration
	Left time.Duration // until it is whole, at the rate so far; 0: not known
}

func (p *pages) overview(r *http.Request) (any, error) {
	now := p.Now()
	v := &overview{Overview: p.Overview(), Now: now, Q: r.URL.Query().Get("q"), Races: p.races(maxRacesHere)}
	for _, h := range v.Hubs {
		v.Total = v.Total.plus(h.Totals)
	}
	v.Saving = time.Duration(v.Seconds * float64(time.Second))
	slices.SortStableFunc(v.Hubs, func(a, b HubCounts) int { return cmp.Compare(b.Sent, a.Sent) })
	v.Chart = newChart(v.History, v.Started, now)
	if p.options.Flights == nil {
		return v, nil
	}
	all := p.options.Flights()
	v.Flying = len(all)
	for _, f := range all {
		if !matches(v.Q, f.Hub, f.Path, f.Mirror) {
			continue
		}
		v.Found++
		if len(v.Flights) == maxFlights {
			continue
		}
		one := flight{Flight: f, ID: id(f.Hub, f.Path, f.Variant), Age: now.Sub(f.Begun).Truncate(time.Second)}
		if f.Total > f.Bytes && f.Rate > 0 {
			one.Left = time.Duration(float64(f.Total-f.Bytes) / float64(f.Rate) * float64(time.Second)).Round(time.Second)
		}
		v.Flights = append(v.Flights, one)
	}
	return v, nil
}

func (p *pages) races(most int) []Race {
	all := p.Races()
	return all[:min(len(all), most)]
}

// matches reports whether all words of q are in any of texts.
func matches(q string, texts ...string) bool {
	all := strings.ToLower(strings.Join(texts, "\n"))
	for word := range strings.FieldsSeq(strings.ToLower(q)) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}

// mirrors are the leagues.
func (p *pages) mirrors(*http.Request) (any, error) {
	v := struct {
		Now     time.Time
		Leagues []league
		Races   []Race
	}{Now: p.Now(), Races: p.races(maxRaces)}
	for _, l := range p.Leagues() {
		one := league{League: l}
		for _, m := range l.Mirrors {
			one.Wins += m.Wins
		}
		slices.SortStableFunc(one.Mirrors, func(a, b Mirror) int { return cmp.Compare(b.Wins, a.Wins) })
		v.Leagues = append(v.Leagues, one)
	}
	return &v, nil
}

type league struct {
	League
	Wins int64
}

// problems are warnings and errors of late.
func (p *pages) problems(r *http.Request) (any, error) {
	q := r.URL.Query()
	v := struct {
		Now   time.Time
		Q     string
		Level string
		All   int
		Found []Problem
	}{Now: p.Now(), Q: q.Get("q"), Level: q.Get("level")}
	all := p.Problems()
	v.All = len(all)
	for _, one := range all {
		texts := []string{one.Message}
		for name, value := range one.Attributes {
			texts = append(texts, name+"="+value)
		}
		if (v.Level == "" || v.Level == one.Level) && matches(v.Q, texts...) {
			v.Found = append(v.Found, one)
		}
	}
	return &v, nil
}

// configuration is the one in force, and what may be switched.
func (p *pages) configuration(*http.Request) (any, error) {
	text, err := p.Config()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	v := struct {
		Overview
		Now         time.Time
		Text        string
		Reload      bool
		Offline     *OfflineState
		Level       string
		LevelNames  []string
		Description string
	}{Overview: p.Overview(), Now: p.Now(), Text: text, Reload: p.options.Reload != nil, Description: describedAt}
	if s := p.options.Offline; s != nil {
		state := s.Get()
		v.Offline = &state
	}
	if l := p.options.Level; l != nil {
		v.Level, v.LevelNames = l.Get(), []string{"debug", "info", "warn", "error"}
	}
	return &v, nil
}

// Lost says what became of a rival.
func (r Rival) Lost() string {
	switch {
	case r.Ending != "outrun" && r.Ending != "good" && r.Ending != "not-modified":
		return strings.ReplaceAll(r.Ending, "-", " ")
	case !r.Answered:
		return "given up after +" + spanText(r.Behind)
	case r.Behind < 0:
		return spanText(-r.Behind) + " sooner, but slower"
	}
	return "+" + spanText(r.Behind)
}

// id is a name for an element, by which a change finds it again.
func id(parts ...string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("x%x", h.Sum64())
}
