package cacheproxy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTransparentHub(t *testing.T) {
	const head = "hubs:\n- name: o\n  type: http\n"
	tests := []struct{ name, config, key string }{
		{"freshness", "  cache: {timeout: 1m}\n", "config.yaml:4: hubs[0].cache.timeout"},
		{"rules", "  cache: {policies: [{match: x, refresh-after: 1m}]}\n", "config.yaml:4: hubs[0].cache.policies"},
		{"negative", "  cache: {negative: 1m}\n", "config.yaml:4: hubs[0].cache.negative"},
		{"a race", "  race: {mode: all}\n", "config.yaml:4: hubs[0].race"},
		{"statuses", "  options: {absent: [403]}\n", "config.yaml:4: hubs[0].options.absent"},
		{"checks", "  upstream: [{server: 'http://x', checkers: [{status-codes: [200]}]}]\n", "config.yaml:4: hubs[0].upstream[0].checkers"},
		{"redirects", "  upstream: [{server: 'http://x', allowed-redirect: x}]\n", "config.yaml:4: hubs[0].upstream[0].allowed-redirect"},
		{"a fallback", "  rollout: dual\n", "config.yaml:4: hubs[0].rollout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse("config.yaml", []byte(head+tt.config))
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.key)
		})
	}
	_, _, err := parse("config.yaml", []byte(head+"  cache: {stale-if-error: 1h}\n  hosts: o.example.org\n  upstream: [{server: 'http://x', max-connections: 4}]\n"))
	assert.NoError(t, err)
}
