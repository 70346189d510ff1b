package cacheproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
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

// URL is an absolute URL. The zero value is none; then only String and IsSet may
// be called.
type URL struct{ *url.URL }

// IsSet reports whether there is a URL.
func (u URL) IsSet() bool { return u.URL != nil }

func (u *URL) set(s string) error {
	if s == "" {
		*u = URL{}
		return nil
	}
	parsed, err := url.Parse(s)
	if err != nil {
		var detail *url.Error // whose text repeats the URL, maybe with a password in it
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return fmt.Errorf("no URL: %w", err)
	}
	switch {
	case parsed.Scheme == "" || parsed.Opaque != "":
		return fmt.Errorf("%q is no absolute URL such as https://mirrors.example.org/base/", parsed.Redacted())
	case parsed.Hostname() == "":
		return fmt.Errorf("%q has no host", parsed.Redacted())
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		return fmt.Errorf("%q has a query or fragment", parsed.Redacted())
	}
	*u = URL{parsed}
	return nil
}

// String is the URL without its password; "" if there is none.
func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	return u.Redacted()
}

// Prefix is a range of addresses in CIDR notation; an address alone is itself.
type Prefix struct{ netip.Prefix }

func (p *Prefix) set(s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		*p = Prefix{netip.PrefixFrom(a, a.BitLen())}
		return nil
	}
	parsed, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is no CIDR such as 10.0.0.0/8", s)
	}
	if parsed != parsed.Masked() {
		return fmt.Errorf("%q has bits beyond its mask; meant %v?", s, parsed.Masked())
	}
	*p = Prefix{parsed}
	return nil
}

// HostRule is a range of addresses, or a suffix of host names: example.org is
// itself and everything under it.
type HostRule struct {
	Prefix netip.Prefix // valid, or Suffix counts
	Suffix string       // lower case, without dots at its ends
}

func (h *HostRule) set(s string) error {
	var p Prefix
	if p.set(s) == nil {
		*h = HostRule{Prefix: p.Prefix}
		return nil
	}
	suffix := strings.ToLower(strings.Trim(strings.TrimPrefix(s, "*"), "."))
	if suffix == "" || strings.ContainsAny(suffix, "/:*@ \t") || strings.Contains(suffix, "..") {
		return fmt.Errorf("%q is neither a CIDR nor a host suffix such as .example.org", s)
	}
	*h = HostRule{Suffix: suffix}
	return nil
}

func (h HostRule) String() string {
	if h.Prefix.IsValid() {
		return h.Prefix.String()
	}
	return h.Suffix
}

// Address is where to listen, as [net.Listen] wants it.
type Address struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of the socket
}

func (a *Address) set(s string) error {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		if !path.IsAbs(socket) {
			return fmt.Errorf("%q is no unix:/path", s)
		}
		*a = Address{"unix", socket}
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is no host:port and no unix:/path", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port from 0 to 65535", s)
	}
	*a = Address{"tcp", s}
	return nil
}

func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
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
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
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
