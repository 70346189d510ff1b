package cacheproxy

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
)

// TLS is spoken where it is configured: with a certificate from files, or one
// that is got by ACME (RFC 8555). TLS 1.2 is the least, HTTP/2 comes with it.
type TLS struct {
	// PEM files: the certificate with those that vouch for it, and its key, which not
	// everybody may read. They are read again when they change. Both or neither.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`

	// Where TLS is spoken, beside listen, where it then is not: one or a list of
	// host:port. Default none: every host:port of listen, whose sockets never speak it.
	Listen []Address `yaml:"listen,single"`

	ACME ACME `yaml:"acme"`
}

// ACME gets certificates, and renews them. The authority must reach the proxy: at
// port 443 by TLS (tls-alpn-01) or at port 80 (http-01).
type ACME struct {
	// The names that a certificate is got for, each when it is first asked for. Not
	// together with cert. Default none: there is no ACME.
	Hosts []string `yaml:"hosts,single"`

	Email     string `yaml:"email"`     // that the authority may write to
	Cache     string `yaml:"cache"`     // directory of keys and certificates, not served by storage.local. Default ./acme
	Directory URL    `yaml:"directory"` // the authority's. Default Let's Encrypt's
}

// enabled says whether TLS is spoken anywhere.
func (t *TLS) enabled() bool { return t.Cert != "" || len(t.ACME.Hosts) > 0 }

func (d *decoder) tls(c *Config) {
	t := &c.TLS
	if (t.Cert == "") != (t.Key == "") {
		d.reject("tls.cert", "cert and key need each other")
	}
	before := len(d.problems)
	d.file("tls.cert", t.Cert, false)
	d.file("tls.key", t.Key, true)
	if t.Cert != "" && t.Key != "" && len(d.problems) == before {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			d.reject("tls.cert", "%v", err)
		}
	}
	d.hosts("tls.acme.hosts", t.ACME.Hosts, false)
	switch {
	case len(t.ACME.Hosts) == 0:
	case t.Cert != "":
		d.reject("tls.acme.hosts", "not together with cert")
	case t.ACME.Cache == "":
		d.reject("tls.acme.cache", "required, but empty")
	}
	if u := t.ACME.Directory; u.IsSet() && u.Scheme != "https" {
		d.reject("tls.acme.directory", "scheme %q is not https", u.Scheme)
	}
	for i, a := range t.Listen {
		switch {
		case a.Network != "tcp":
			d.reject("tls.listen", "%v is no host:port", a)
		case slices.Contains(c.Listen, a) || slices.Contains(t.Listen[:i], a):
			d.reject("tls.listen", "%v is listed twice", a)
		}
	}
	if len(t.Listen) > 0 && !t.enabled() {
		d.reject("tls.listen", "there is neither cert nor acme.hosts")
	}
}

// A Listening is an address that is listened on, and whether TLS is spoken there.
type Listening struct {
	Address Address
	TLS     bool
}

// Addresses are all that are listened on for clients.
func (c *Config) Addresses() []Listening {
	var all []Listening
	for _, a := range c.addresses() {
		all = append(all, Listening{a, c.secure(a, &net.TCPAddr{})})
	}
	return all
}

// addresses are all that are listened on.
func (c *Config) addresses() []Address { return slices.Concat(c.Listen, c.TLS.Listen) }

// secure says whether TLS is spoken at an address that is listened on. One that
// was given (a is zero) is known by its port.
func (c *Config) secure(a Address, local net.Addr) bool {
	switch {
	case !c.TLS.enabled() || local.Network() == "unix" || a.Network == "unix":
		return false
	case len(c.TLS.Listen) == 0:
		return true
	case a != Address{}:
		return slices.Contains(c.TLS.Listen, a)
	}
	_, port, _ := net.SplitHostPort(local.String())
	return slices.ContainsFunc(c.TLS.Listen, func(a Address) bool { return strings.HasSuffix(a.Address, ":"+port) })
}
