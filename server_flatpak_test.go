package cacheproxy

import (
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// variantDict is an a{sv} of one entry, less than 200 bytes long.
func variantDict(key, kind, value string) string {
	e := key + "\x00"
	end := len(e)
	for len(e)%8 != 0 {
		e += "\x00"
	}
	e += value + "\x00" + kind + string(rune(end))
	return e + string(rune(len(e)))
}

// TestSignedAhead: who asks for the signature of a summary before the summary, as
// ostree does, gets the two that belong together, and new ones each time.
func TestSignedAhead(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	m := newTreeMirror(t)
	summary := func(n int) string { // without branches
		order := binary.BigEndian.AppendUint64(nil, uint64(n))
		return variantDict("ostree.summary.last-modified", "t", string(order)) + "\x00"
	}
	signature := func(n int) string { return variantDict(fmt.Sprint("signature ", n), "s", "x\x00") }
	at := func(n int) {
		modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
		m.publish(tree{"/summary": {[]byte(summary(n)), modified}, "/summary.sig": {[]byte(signature(n)), modified}})
	}
	at(1)
	s := generationsServer(t, clock, "name: r, type: flatpak", m)
	get := func(addr, path string) string {
		r, w := httptest.NewRequest("GET", "/r"+path, nil), httptest.NewRecorder()
		r.RemoteAddr = addr + ":1"
		s.ServeHTTP(w, r)
		assert.Equal(t, 200, w.Code, path)
		return w.Body.String()
	}
	const a, b = "192.0.2.1", "192.0.2.9"
	for n := 1; n < 5; n++ {
		at(n)
		require.Eventually(t, func() bool { // what another client sees
			clock.pass(6 * time.Minute)
			return get(b, "/summary") == summary(n)
		}, 5*time.Second, time.Millisecond)
		assert.Equal(t, signature(n), get(a, "/summary.sig"))
		assert.Equal(t, summary(n), get(a, "/summary"))
	}
	at(1) // the mirror goes back
	clock.pass(time.Hour)
	assert.Equal(t, signature(4), get(a, "/summary.sig"))
	assert.Equal(t, summary(4), get(a, "/summary"))
}
