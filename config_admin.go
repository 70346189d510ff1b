package cacheproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Admin is the listener for operators: numbers, status, how mirrors fare, and
// profiles in builds that have them. None of it is on the addresses of listen.
type Admin struct {
	// host:port, or unix:/path of a socket. '': there is none. Default 127.0.0.1:8882.
	Listen OptionalAddress `yaml:"listen"`

	// What every request has to show: "Authorization: Bearer TOKEN". Required if
	// listen is reached from beyond this machine. Default '': nothing.
	Token Secret `yaml:"token"`

	// Names that it is reached by, besides localhost and every address: a Host that
	// is none of them is refused, so that a page in somebody's browser cannot have
	// its own name lead here. Default none.
	Hosts []string `yaml:"hosts"`
}

// OptionalAddress is an Address, or none: the zero value, written ”.
type OptionalAddress struct{ Address }

// IsSet reports whether there is an address.
func (a OptionalAddress) IsSet() bool { return a.Network != "" }

func (a *OptionalAddress) set(s string) error {
	if s == "" {
		*a = OptionalAddress{}
		return nil
	}
	return a.Address.set(s)
}

// own reports whether only this machine gets to an address.
func (a Address) own() bool {
	if a.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.Address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func (d *decoder) admin(c *Config) {
	a := &c.Admin
	switch {
	case !a.Listen.IsSet():
		return
	case !a.Listen.own() && !a.Token.IsSet():
		d.reject("admin.token", "required, since %v is reached from beyond this machine", a.Listen)
	case strings.ContainsAny(a.Token.Value(), " \t\r\n"):
		d.reject("admin.token", "has white space in it")
	}
	for _, other := range c.Listen {
		if other == a.Listen.Address && !strings.HasSuffix(other.Address, ":0") {
			d.reject("admin.listen", "%v is in listen too: it needs an address of its own", other)
		}
	}
	for i, name := range a.Hosts {
		if name == "" || strings.ContainsAny(name, ":/*@ \t") {
			d.reject(fmt.Sprintf("admin.hosts[%d]", i), "%q is no host name", name)
		}
	}
}
