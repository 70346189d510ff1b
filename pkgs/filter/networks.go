package filter

import (
	"context"
	"net/http"
	"net/netip"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type clientNetworksOptions struct {
	Allow []netip.Prefix `yaml:"allow,single"` // none: everybody who is not denied
	Deny  []netip.Prefix `yaml:"deny,single"`  // goes before allow
	Unix  bool           `yaml:"unix"`         // who comes by a unix socket is allowed
}

// Check implements [Checker].
func (o *clientNetworksOptions) Check(reject func(path, format string, args ...any)) {
	if len(o.Allow)+len(o.Deny) == 0 {
		reject("", "refuses nobody: neither allow nor deny")
	}
}

// ClientNetworks is the kind that refuses clients by their address. Its result is
// refused.
func ClientNetworks() Kind {
	return Define("lets in clients of some networks", []Result{{Name: "refused"}},
		clientNetworksOptions{Unix: true}, func(o clientNetworksOptions, _ Env) (Filter, error) { return &clientNetworks{o}, nil })
}

type clientNetworks struct{ clientNetworksOptions }

func (n *clientNetworks) Handle(_ context.Context, x *Exchange) string {
	if n.admits(x.Request.Client.Addr) {
		return ""
	}
	x.Refuse(&exchange.Error{Status: http.StatusForbidden, Message: "your address is not served here", Reason: "filter"})
	return "refused"
}

func (n *clientNetworks) admits(addr netip.Addr) bool {
	if !addr.IsValid() {
		return n.Unix
	}
	return !within(n.Deny, addr) && (len(n.Allow) == 0 || within(n.Allow, addr))
}

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (n *clientNetworks) Status() any { return nil }
