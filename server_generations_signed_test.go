package cacheproxy

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signedRoot is a server of a hub whose mirror has a root with its signature, both as they
// are at 1: at moves them, and get is what a client at an address gets of the hub.
func signedRoot(t *testing.T, hub, root, signature string, content func(n int) string) (clock *aClock, at func(n int), get func(addr, path string) string) {
	t.Helper()
	clock = &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	m := newTreeMirror(t)
	at = func(n int) {
		modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
		m.publish(tree{
			root:             {[]byte(content(n)), modified},
			root + signature: {[]byte("signature of " + content(n)), modified},
		})
	}
	at(1)
	s := generationsServer(t, clock, hub, m)
	get = func(addr, path string) string {
		r, w := httptest.NewRequest("GET", "/r"+path, nil), httptest.NewRecorder()
		r.RemoteAddr = addr + ":1"
		s.ServeHTTP(w, r)
		assert.Equal(t, 200, w.Code, path)
		return w.Body.String()
	}
	return clock, at, get
}

// TestSignatureFirst: who asks for a signature, and then for what it is of, gets the
// one that it is of, though that has been replaced between the two and others have
// the new one; and then begins anew like everybody.
func TestSignatureFirst(t *testing.T) {
	for _, c := range []struct {
		kind, root, signature string
		content               func(n int) string
	}{
		{"files", "/i/SHA256SUMS", ".gpg", func(n int) string { return fmt.Sprintf("%064x  a.iso\n", n) }},
		{"rpm", "/9/repodata/repomd.xml", ".asc", func(n int) string { return fmt.Sprintf("<repomd><revision>%d</revision></repomd>", n) }},
		{"pacman", "/core/os/x86_64/core.db", ".sig", func(n int) string { return fmt.Sprintf("database %d", n) }},
	} {
		t.Run(c.kind, func(t *testing.T) {
			clock, at, get := signedRoot(t, "name: r, type: "+c.kind+", cache: {policies: [{match: ., refresh-after: 20ms}]}", c.root, c.signature, c.content)
			eventually := func(n int) { // another client has it
				t.Helper()
				require.Eventually(t, func() bool {
					clock.pass(25 * time.Millisecond)
					return get("192.0.2.9", c.root) == c.content(n)
				}, 10*time.Second, time.Millisecond)
			}
			eventually(1)
			const a = "192.0.2.1"
			assert.Equal(t, "signature of "+c.content(1), get(a, c.root+c.signature))
			at(2)
			eventually(2)
			assert.Equal(t, c.content(1), get(a, c.root))
			clock.pass(time.Second)
			assert.Equal(t, c.content(2), get(a, c.root), "it asks anew")
			assert.Equal(t, "signature of "+c.content(2), get(a, c.root+c.signature))
		})
	}
}

// TestSignatureLate: a mirror that is being updated has a list, and the signature of
// the one before; who has been given the two gets the right one when the mirror has it.
// Where a signature comes first, who has the list keeps the one that it came with.
func TestSignatureLate(t *testing.T) {
	for _, c := range []struct{ kind, root, signature string }{
		{"files", "/i/SHA256SUMS", ".gpg"}, {"pacman", "/core/os/x86_64/core.db", ".sig"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			m := newTreeMirror(t)
			at := func(n int) treeFile {
				return treeFile{fmt.Appendf(nil, "%d", n), time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)}
			}
			s := generationsServer(t, clock, "name: r, type: "+c.kind, m)
			pair := func() string {
				clock.pass(10 * time.Minute)
				list := ask(s, "GET", "/r"+c.root, "Host", "x").Body.String()
				return list + " " + ask(s, "GET", "/r"+c.root+c.signature, "Host", "x").Body.String()
			}
			becomes := func(want string) {
				t.Helper()
				require.Eventually(t, func() bool { return pair() == want }, 10*time.Second, time.Millisecond)
			}
			m.publish(tree{c.root: at(2), c.root + c.signature: at(1)})
			becomes("2 1")
			m.publish(tree{c.root + c.signature: at(2)})
			becomes("2 2")
			m.publish(tree{c.root + c.signature: at(3)})
			for range 10 {
				assert.Equal(t, "2 2", pair())
			}
			m.publish(tree{c.root: at(3)})
			becomes("3 3")
		})
	}
}
