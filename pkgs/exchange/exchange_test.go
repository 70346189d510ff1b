package exchange_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestFreshened(t *testing.T) {
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old := &exchange.Entry{
		Status: 200, Size: 3, Digest: "sha256:00", Mirror: "http://a",
		Header: http.Header{"Content-Type": {"text/plain"}, "Etag": {`"1"`}, "X-Kept": {"yes"}},
	}
	got := old.Freshened(&exchange.Entry{
		Status: 304, Size: 0, Mirror: "http://b", Received: received,
		Header: http.Header{"Content-Type": {"text/html"}, "Content-Length": {"0"}, "Etag": {`"2"`}},
	})
	assert.Equal(t, &exchange.Entry{
		Status: 200, Size: 3, Digest: "sha256:00", Mirror: "http://a", Received: received,
		Header: http.Header{"Content-Type": {"text/plain"}, "Etag": {`"2"`}, "X-Kept": {"yes"}},
	}, got)
	assert.Equal(t, `"1"`, old.Header.Get("ETag"), "entries do not change")
}

func TestCacheStatus(t *testing.T) {
	tests := []struct {
		name    string
		outcome exchange.Outcome
		status  string
		word    string
	}{
		{"hit", exchange.Outcome{Hit: true, TTL: 90 * time.Second, HasTTL: true}, "c; hit; ttl=90", "HIT"},
		{"immutable hit", exchange.Outcome{Hit: true}, "c; hit", "HIT"},
		{"miss", exchange.Outcome{Fwd: exchange.FwdURIMiss, Stored: true}, "c; fwd=uri-miss; stored", "MISS"},
		{"joined", exchange.Outcome{Fwd: exchange.FwdURIMiss, Collapsed: true}, "c; fwd=uri-miss; collapsed", "COALESCED"},
		{"validated", exchange.Outcome{Fwd: exchange.FwdStale, FwdStatus: 304}, "c; fwd=stale; fwd-status=304", "REVALIDATED"},
		{"changed", exchange.Outcome{Fwd: exchange.FwdStale, Stored: true}, "c; fwd=stale; stored", "MISS"},
		{"stale", exchange.Outcome{Hit: true, Stale: true, TTL: -5 * time.Second, HasTTL: true, Detail: "back-off"}, "c; hit; ttl=-5; detail=back-off", "STALE"},
		{"bypass", exchange.Outcome{Fwd: exchange.FwdBypass}, "c; fwd=bypass", "BYPASS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.status, tt.outcome.CacheStatus("c"))
			assert.Equal(t, tt.word, tt.outcome.Word())
		})
	}
}

func TestParseDigest(t *testing.T) {
	good := "sha256:" + strings.Repeat("0a", 32)
	d, err := exchange.ParseDigest(good)
	require.NoError(t, err)
	assert.Equal(t, "sha256", d.Algorithm())
	assert.Equal(t, strings.Repeat("0a", 32), d.Hex())
	assert.NotNil(t, d.New())
	for _, bad := range []string{"", "sha256", "sha256:", "sha256:0a", "crc32:00000000", "sha256:" + strings.Repeat("0A", 32), "sha256:" + strings.Repeat("zz", 32)} {
		_, err := exchange.ParseDigest(bad)
		assert.Error(t, err, bad)
	}
}

// Damage is told by it, but nobody's promise.
func TestFast(t *testing.T) {
	h := exchange.Digest(exchange.Fast + ":").New()
	require.NotNil(t, h)
	_, _ = h.Write([]byte("a"))
	d := exchange.NewDigest(exchange.Fast, h.Sum(nil))
	assert.Equal(t, exchange.Digest("xxh64:d24ec4f1a98c6e5b"), d, "XXH64 of \"a\" with seed 0")
	_, err := exchange.ParseDigest(string(d))
	assert.Error(t, err)
}
