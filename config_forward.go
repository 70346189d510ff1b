package cacheproxy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Forward lets clients use the addresses of listen as their http_proxy, besides:
// a request for a URL below an upstream's server is answered by the hub that has
// the upstream, whether the URL says http or https. Any other is refused. Paths
// that begin with /HTTPS///HOST/ mean https://HOST/, as for apt-cacher-ng.
type Forward struct {
	// Default false: requests with whole URLs are refused, and so is CONNECT.
	Enabled bool `yaml:"enabled"`

	// What CONNECT may reach: one or a list of HOST:PORT, where .example.org is every
	// host under it. Only public addresses, unless allowed-upstreams has them. What
	// goes through is neither seen nor kept, and no flow counts for it. Default none.
	Connect []Endpoint `yaml:"connect,single"`
}

// Endpoint is a port of a host, or of all hosts under a name.
type Endpoint struct {
	Host string // lower case, without a dot at its end; one at its beginning: all under it
	Port string
}

func (e *Endpoint) set(s string) error {
	host, port, err := net.SplitHostPort(s)
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || n == 0 || strings.Trim(name, ".") == "" || strings.ContainsAny(name, "/*@ \t") || strings.Contains(name, "..") {
		return fmt.Errorf("%q is no HOST:PORT such as registry.example.org:443 or .example.org:443", s)
	}
	*e = Endpoint{name, strconv.FormatUint(n, 10)}
	return nil
}

func (e Endpoint) String() string { return net.JoinHostPort(e.Host, e.Port) }

// admits says whether a host, in lower case, and port are meant.
func (e Endpoint) admits(host, port string) bool {
	if e.Port != port {
		return false
	}
	return e.Host == host || e.Host[0] == '.' && strings.HasSuffix(host, e.Host)
}

func (d *decoder) forward(c *Config) {
	if !c.Forward.Enabled && len(c.Forward.Connect) > 0 {
		d.reject("forward.connect", "forward is not enabled")
	}
}
