package freshness

import (
	"strings"
	"time"
)

// The three forms of HTTP dates.
const (
	imfFixdate = "Mon, 02 Jan 2006 15:04:05 GMT"
	rfc850     = "Monday, 02-Jan-06 15:04:05 GMT"
	asctime    = "Mon Jan _2 15:04:05 2006"
)

// ParseDate reads an HTTP date in any of the three forms (RFC 9110 §5.6.7), for a
// recipient whose clock says now. Letter case does not count, as caches should have
// it (RFC 9111 §4.2); every other letter does: what names another zone than GMT, or
// is written otherwise, is no date. The day of the week need not be that of the date.
func ParseDate(s string, now time.Time) (t time.Time, ok bool) {
	zoned := s
	if at := len(s) - len("GMT"); at >= 0 && strings.EqualFold(s[at:], "GMT") {
		zoned = s[:at] + "GMT" // names of days and months time.Parse knows in any case
	}
	for _, layout := range [...]string{imfFixdate, rfc850, asctime} {
		t, err := time.Parse(layout, zoned)
		if err != nil {
			continue
		}
		if layout == rfc850 {
			t = century(t, now)
		}
		// time.Parse forgives missing zeros, and blanks.
		_, date, _ := strings.Cut(t.Format(layout), " ")
		if day, ok := cutEnd(s, " "+date); ok && weekday(day, layout) {
			return t, true
		}
		if day, ok := cutEnd(s, t.Format(" Jan 02 15:04:05 2006")); ok && layout == asctime && weekday(day, layout) {
			return t, true
		}
	}
	return time.Time{}, false
}

// cutEnd is [strings.CutSuffix] for any letter case.
func cutEnd(s, suffix string) (before string, ok bool) {
	at := len(s) - len(suffix)
	if at < 0 || !strings.EqualFold(s[at:], suffix) {
		return s, false
	}
	return s[:at], true
}

// century puts a year of two digits where it is at most 50 years ahead.
func century(t, now time.Time) time.Time {
	year := now.Year() - now.Year()%100 + t.Year()%100
	if year > now.Year()+50 {
		year -= 100
	}
	return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// weekday says whether s is the name of a day as the layout has it.
func weekday(s, layout string) bool {
	name, comma := strings.CutSuffix(s, ",")
	if comma != (layout != asctime) {
		return false
	}
	for day := range 7 {
		want := time.Weekday(day).String()
		if layout != rfc850 {
			want = want[:3]
		}
		if strings.EqualFold(name, want) {
			return true
		}
	}
	return false
}
