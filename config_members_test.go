package cacheproxy

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMembersProblems(t *testing.T) {
	const a, b = "server: https://a.example.org", "server: https://b.example.org"
	two := func(first, second string) string {
		return fmt.Sprintf("hubs: [{name: h, type: pypi, upstream: [{%s, %s}, {%s, %s}]}]", a, first, b, second)
	}
	for _, test := range []struct{ name, text, at string }{
		{"right", two("member: corp, private: [acme-*], shared: torch", "member: public"), ""},
		{"one content", two("max-connections: 3", "max-connections: 3"), ""},
		{"one name for all", two("member: m", "member: m"), ""},
		{"the default hub", "upstream: [{" + a + ", member: x, private: acme}, {" + b + ", member: y}]", ""},
		{"some have none", two("member: corp", "rate: 1MiB"), "hubs[0].upstream[1].member"},
		{"of the default hub", "upstream: [{" + a + ", member: x}, {" + b + "}]", "upstream[1].member"},
		{"no name", two("member: '+x'", "member: public"), "hubs[0].upstream[0].member"},
		{"no pattern", two("member: corp, private: [ok, '[a']", "member: public"), "hubs[0].upstream[0].private[1]"},
		{"no pattern to share", two("member: corp, private: ok, shared: ['']", "member: public"), "hubs[0].upstream[0].shared[0]"},
		{"nobody to keep it from", two("member: m, private: [acme]", "member: m"), "hubs[0].upstream[0].private"},
		{"nothing kept to share", two("member: corp, shared: [torch]", "member: public"), "hubs[0].upstream[0].shared"},
		{"no such second host", two("member: corp, second-hosts: [files]", "member: public"), "hubs[0].upstream[0].second-hosts[0]"},
		{"one server, two members", "hubs: [{name: h, upstream: [{" + a + ", member: x}, {" + a + ", member: y}]}]", "hubs[0].upstream[1].server"},
		{"an origin", "hubs: [{name: h, type: http, upstream: [{" + a + ", member: x}, {" + b + ", member: x}]}]", "hubs[0].upstream[0].member"},
		{"a hub that falls back", "hubs: [{name: h, type: npm, rollout: dual, upstream: [{" + a + ", member: x, private: p}, {" + b + ", member: y}]}]", "hubs[0].upstream[0].private"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte(test.text))
			if test.at == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), ": "+test.at+": ")
		})
	}
}
