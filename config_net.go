package cacheproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

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
