package cacheproxy

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListenProblems(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"key": 0o600, "open": 0o644} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), mode))
	}
	for _, c := range []struct{ name, text, want string }{
		{"cert alone", "tls: {cert: DIR/key}", "config.yaml:1: tls.cert: cert and key need each other"},
		{"no such key", "tls:\n  cert: DIR/key\n  key: DIR/none", "config.yaml:3: tls.key: stat DIR/none: no such file or directory"},
		{"open key", "tls:\n  cert: DIR/key\n  key: DIR/open", "config.yaml:3: tls.key: DIR/open is readable by everyone (mode 0644); run chmod o-r on it"},
		{"no certificate", "tls:\n  cert: DIR/key\n  key: DIR/key", "config.yaml:2: tls.cert: tls: failed to find any PEM data in certificate input"},
		{"address without tls", "tls: {listen: ':1'}", "config.yaml:1: tls.listen: there is neither cert nor acme.hosts"},
		{"address twice", "listen: ':1'\ntls: {listen: ':1', acme: {hosts: x}}", "config.yaml:2: tls.listen: :1 is listed twice"},
		{"socket", "tls: {listen: 'unix:/x', acme: {hosts: x}}", "config.yaml:1: tls.listen: unix:/x is no host:port"},
		{"name", "tls: {acme: {hosts: '*.example.org'}}", `config.yaml:1: tls.acme.hosts: "*.example.org" is no name of a host such as pypi.example.org`},
		{"cache", "tls: {acme: {hosts: x, cache: ''}}", "config.yaml:1: tls.acme.cache: required, but empty"},
		{"directory", "tls: {acme: {hosts: x, directory: 'http://x'}}", `config.yaml:1: tls.acme.directory: scheme "http" is not https`},
		{"connections", "limits: {connections: -1}", "config.yaml:1: limits.connections: must be 0 or more"},
		{"no streams", "limits: {http2-streams: 0}", "config.yaml:1: limits.http2-streams: must be more than 0"},
		{"connections of a client", "limits: {connections-per-client: 0}", "config.yaml:1: limits.connections-per-client: must be more than 0"},
		{"fills", "limits: {fills: {all: 0}}", "config.yaml:1: limits.fills.all: must be more than 0"},
		{"fills of a client", "limits: {fills: {per-client: 0}}", "config.yaml:1: limits.fills.per-client: must be more than 0"},
		{"fills of a mirror", "limits: {fills: {per-mirror: 0}}", "config.yaml:1: limits.fills.per-mirror: must be more than 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte(strings.ReplaceAll(c.text, "DIR", dir)))
			assert.EqualError(t, err, strings.ReplaceAll(c.want, "DIR", dir))
		})
	}
}

// TestSecure: where TLS is spoken.
func TestSecure(t *testing.T) {
	tcp, unix := &net.TCPAddr{Port: 443}, &net.UnixAddr{Name: "/x", Net: "unix"}
	for _, c := range []struct {
		name, tls string
		address   string // "" is one that was given
		local     net.Addr
		want      bool
	}{
		{"none", "{}", ":443", tcp, false},
		{"all", "{acme: {hosts: x}}", ":443", tcp, true},
		{"a socket", "{acme: {hosts: x}}", "unix:/x", unix, false},
		{"one of two", "{acme: {hosts: x}, listen: ':443'}", ":443", tcp, true},
		{"the other", "{acme: {hosts: x}, listen: ':444'}", ":443", tcp, false},
		{"given", "{acme: {hosts: x}}", "", tcp, true},
		{"given socket", "{acme: {hosts: x}}", "", unix, false},
		{"given, by port", "{acme: {hosts: x}, listen: ':443'}", "", tcp, true},
		{"given, by another port", "{acme: {hosts: x}, listen: ':1443'}", "", tcp, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, _ := must(t, "listen: ':1'\ntls: "+c.tls)
			var a Address
			if c.address != "" {
				require.NoError(t, a.set(c.address))
			}
			assert.Equal(t, c.want, cfg.secure(a, c.local))
		})
	}
}
