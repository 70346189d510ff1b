package cacheproxy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAccounts(t *testing.T) {
	const upstream = "upstream: [{server: https://r.example.org, username: a, password: x, accounts: [{username: b, password: y}]}]"
	c, _ := must(t, "hubs: [{name: h, type: oci, "+upstream+"}]")
	assert.Equal(t, []string{"Basic Yjp5"}, c.Hubs[0].Upstream[0].accounts())
	for _, test := range []struct{ name, text, at string }{
		{"another type", "hubs: [{name: h, type: npm, " + upstream + "}]", "hubs[0].upstream[0].accounts"},
		{"the default hub", upstream, "upstream[0].accounts"},
		{"no first one", "hubs: [{name: h, type: oci, upstream: [{server: https://r.example.org, accounts: [{username: b, password: y}]}]}]", "hubs[0].upstream[0].accounts"},
		{"no password", "hubs: [{name: h, type: oci, upstream: [{server: https://r.example.org, username: a, password: x, accounts: [{username: b}]}]}]", "hubs[0].upstream[0].accounts[0].password"},
		{"a colon", "hubs: [{name: h, type: oci, upstream: [{server: https://r.example.org, username: a, password: x, accounts: [{username: 'b:c', password: y}]}]}]", "hubs[0].upstream[0].accounts[0].username"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte(test.text))
			require.Error(t, err)
			assert.Contains(t, err.Error(), ": "+test.at+": ")
			assert.NotContains(t, err.Error(), "y}")
		})
	}
}
