package cacheproxy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestForwardKeys(t *testing.T) {
	c, warnings := must(t, "forward: {enabled: true, connect: [Registry.Example.Org.:0443, .example.net:443]}\nhubs: [{name: a, upstream: [{server: 'https://x'}]}]")
	assert.Empty(t, warnings)
	assert.Equal(t, Forward{true, []Endpoint{{"registry.example.org", "443"}, {".example.net", "443"}}}, c.Forward)
	assert.True(t, c.Forward.Connect[0].admits("registry.example.org", "443"))
	assert.False(t, c.Forward.Connect[0].admits("x.registry.example.org", "443"))
	assert.True(t, c.Forward.Connect[1].admits("a.b.example.net", "443"))
	assert.False(t, c.Forward.Connect[1].admits("example.net", "443"))
	c, _ = must(t, "hubs: [{name: a, upstream: [{server: 'https://x'}]}]")
	assert.Equal(t, Forward{Connect: []Endpoint{}}, Forward{c.Forward.Enabled, append([]Endpoint{}, c.Forward.Connect...)}, "off")
	for text, want := range map[string]string{
		"forward: {enabled: true, connect: [example.org]}": `config.yaml:1: forward.connect[0]: "example.org" is no HOST:PORT such as registry.example.org:443 or .example.org:443`,
		"forward: {enabled: true, connect: [':443']}":      `config.yaml:1: forward.connect[0]: ":443" is no HOST:PORT such as registry.example.org:443 or .example.org:443`,
		"forward: {enabled: true, connect: ['*:443']}":     `config.yaml:1: forward.connect[0]: "*:443" is no HOST:PORT such as registry.example.org:443 or .example.org:443`,
		"forward: {enabled: true, connect: ['a:70000']}":   `config.yaml:1: forward.connect[0]: "a:70000" is no HOST:PORT such as registry.example.org:443 or .example.org:443`,
		"forward: {connect: ['a:443']}":                    "config.yaml:1: forward.connect: forward is not enabled",
		"forward: {enable: true}":                          "config.yaml:1: forward.enable: unknown key; did you mean enabled?",
	} {
		_, _, err := parse("config.yaml", []byte(text))
		require.Error(t, err, text)
		assert.Equal(t, want, err.Error())
	}
}
