package cacheproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// Duration is a span of time: 90s, 10m, 24h, 7d, a bare number of seconds, or
// never, which is [freshness.Forever].
type Duration time.Duration

// Never is the duration that has no end.
const Never = Duration(freshness.Forever)

const day = 24 * time.Hour

// ParseDuration reads a span of time as a configuration has it; never is the longest.
func ParseDuration(s string) (time.Duration, error) {
	var d Duration
	err := d.set(s)
	return time.Duration(d), err
}

func (d *Duration) set(s string) error {
	if s == "never" {
		*d = Never
		return nil
	}
	bad := fmt.Errorf("%q is no duration such as 90s, 10m, 24h, 7d or never", s)
	var sum time.Duration
	rest := s
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		if n > uint64(math.MaxInt64/time.Second) {
			return bad
		}
		*d = Duration(time.Duration(n) * time.Second)
		return nil
	}
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 63)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return bad
		}
		sum, rest = time.Duration(n)*day, after
	}
	if rest != "" || s == "" {
		more, err := time.ParseDuration(rest)
		if err != nil || strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
			return bad
		}
		sum += more
	}
	if sum < 0 { // overflow
		return bad
	}
	*d = Duration(sum)
	return nil
}

// String is the duration as the configuration spells it.
func (d Duration) String() string {
	t := time.Duration(d)
	switch {
	case d == Never:
		return "never"
	case t >= day && t%day == 0:
		return strconv.FormatInt(int64(t/day), 10) + "d"
	case t != 0 && t%time.Hour == 0:
		return strconv.FormatInt(int64(t/time.Hour), 10) + "h"
	case t != 0 && t%time.Minute == 0:
		return strconv.FormatInt(int64(t/time.Minute), 10) + "m"
	}
	return t.String()
}

// Size is a number of bytes: 52428800, 512KiB, 50GiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// ParseSize is the size that s spells, as the configuration does.
func ParseSize(s string) (z Size, err error) {
	err = z.set(s)
	return z, err
}

func (z *Size) set(s string) error {
	digits, unit := s, int64(1)
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = d, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/unit) {
		return fmt.Errorf("%q is no size such as 52428800, 512KiB or 50GiB", s)
	}
	*z = Size(int64(n) * unit)
	return nil
}

// String is the size in the largest unit that divides it.
func (z Size) String() string {
	for _, u := range slices.Backward(sizeUnits[:4]) {
		if z != 0 && int64(z)%u.bytes == 0 {
			return strconv.FormatInt(int64(z)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// Space is a part of a file system: a number of bytes, or a share of it.
type Space struct {
	Bytes   Size
	Percent float64 // more than 0: Bytes counts for nothing
}

// Of is the number of bytes on a file system of the given size.
func (p Space) Of(total int64) int64 {
	if p.Percent > 0 {
		return int64(float64(total) * p.Percent / 100)
	}
	return int64(p.Bytes)
}

func (p *Space) set(s string) error {
	if share, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(share, 64)
		if err != nil || !(f >= 0 && f <= 100) {
			return fmt.Errorf("%q is no share from 0%% to 100%%", s)
		}
		*p = Space{Percent: f}
		return nil
	}
	var bytes Size
	if err := bytes.set(s); err != nil {
		return fmt.Errorf("%w, nor a share such as 10%%", err)
	}
	*p = Space{Bytes: bytes}
	return nil
}

func (p Space) String() string {
	if p.Percent > 0 {
		return strconv.FormatFloat(p.Percent, 'f', -1, 64) + "%"
	}
	return p.Bytes.String()
}

// Regexp is a regular expression in Go's syntax (RE2), unanchored, compiled when
// the configuration is loaded. The zero value is none; then only String and
// IsSet may be called.
type Regexp struct{ *regexp.Regexp }

// IsSet reports whether there is an expression.
func (r Regexp) IsSet() bool { return r.Regexp != nil }

func (r *Regexp) set(s string) error {
	if s == "" {
		*r = Regexp{}
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	*r = Regexp{re}
	return nil
}

// String is the source of the expression; "" if there is none.
func (r Regexp) String() string {
	if r.Regexp == nil {
		return ""
	}
	return r.Regexp.String()
}

// A Level is how much is logged.
type Level slog.Level

// LevelTrace is below debug: single reads and writes.
const LevelTrace = slog.LevelDebug - 4

var levels = []struct {
	name  string
	level slog.Level
}{
	{"trace", LevelTrace}, {"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
}

// ParseLevel is the level of a name, as the configuration and -log-level spell it.
func ParseLevel(s string) (Level, error) {
	names := make([]string, 0, len(levels))
	for _, l := range levels {
		if s == l.name {
			return Level(l.level), nil
		}
		names = append(names, l.name)
	}
	return 0, notOneOf(s, names...)
}

func (l *Level) set(s string) (err error) {
	*l, err = ParseLevel(s)
	return err
}

func (l Level) String() string {
	for _, known := range levels {
		if slog.Level(l) == known.level {
			return known.name
		}
	}
	return strings.ToLower(slog.Level(l).String())
}

// Clock is a time of day: minutes since midnight, written 08:00.
type Clock int

func (c *Clock) set(s string) error {
	t, err := time.Parse("15:04", s)
	if err != nil {
		return fmt.Errorf("%q is no time of day such as 08:00", s)
	}
	*c = Clock(t.Hour()*60 + t.Minute())
	return nil
}

func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c/60, c%60) }

// holds reports whether now is within the hours.
func (h *HourRate) holds(now time.Time) bool {
	c := Clock(now.Hour()*60 + now.Minute())
	if h.From <= h.To {
		return h.From <= c && c < h.To
	}
	return c >= h.From || c < h.To
}

// RaceMode is the way mirrors are asked.
type RaceMode string

// The modes of a race.
const (
	RaceAdaptive RaceMode = "adaptive"
	RaceAll      RaceMode = "all"
	RaceOrdered  RaceMode = "ordered"
)

func (m *RaceMode) set(s string) error { return setOneOf(m, s, RaceAdaptive, RaceAll, RaceOrdered) }

// StorageType is a kind of storage.
type StorageType string

// StorageLocal is a directory of plain files.
const StorageLocal StorageType = "local"

func (t *StorageType) set(s string) error { return setOneOf(t, s, StorageLocal) }

// Durability says when an entry is safe from a power cut.
type Durability string

// The durabilities of local storage.
const (
	Lazy   Durability = "lazy"
	Strict Durability = "strict"
)

func (d *Durability) set(s string) error { return setOneOf(d, s, Lazy, Strict) }

// LogFormat is the form of a log line.
type LogFormat string

// The forms of log lines.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

func (f *LogFormat) set(s string) error { return setOneOf(f, s, LogText, LogJSON) }

func setOneOf[T ~string](to *T, s string, allowed ...T) error {
	if !slices.Contains(allowed, T(s)) {
		names := make([]string, 0, len(allowed))
		for _, a := range allowed {
			if a != "" {
				names = append(names, string(a))
			}
		}
		return notOneOf(s, names...)
	}
	*to = T(s)
	return nil
}

func notOneOf(s string, names ...string) error {
	if len(names) == 1 {
		return fmt.Errorf("%q is unknown, only %s is known", s, names[0])
	}
	last := len(names) - 1
	return fmt.Errorf("%q is none of %s or %s", s, strings.Join(names[:last], ", "), names[last])
}
