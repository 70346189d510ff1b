package cacheproxy

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAdmin(t *testing.T) {
	c, _ := must(t, "")
	assert.Equal(t, "127.0.0.1:8882", c.Admin.Listen.String())
	for _, text := range []string{
		"127.0.0.1:1", "127.9.9.9:1", "'[::1]:1'", "localhost:1", "LOCALHOST:0", "unix:/run/x", "''", "'[::ffff:127.0.0.1]:1'",
	} {
		must(t, "admin: {listen: "+text+"}")
	}
	c, _ = must(t, "admin: {listen: '', token: secret}")
	assert.False(t, c.Admin.Listen.IsSet())
	c, _ = must(t, "admin: {listen: ':8882', token: secret, hosts: [cache.example.org]}")
	assert.True(t, c.Admin.Listen.IsSet())
	assert.Equal(t, "secret", c.Admin.Token.Value())
	assert.Equal(t, []string{"cache.example.org"}, c.Admin.Hosts)
	c, _ = must(t, "{listen: '127.0.0.1:0', admin: {listen: '127.0.0.1:0'}}")
	assert.Equal(t, c.Listen[0], c.Admin.Listen.Address, "no address yet, so none that is shared")
}
