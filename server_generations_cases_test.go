package cacheproxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// aptCase is a server with two mirrors that have release 1, and a client that
// has used all members of it.
func aptCase(t *testing.T, options string) (s *Server, c *aptClient, clock *aClock, mirrors []*treeMirror) {
	clock = &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	mirrors = []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
	for _, m := range mirrors {
		release(m, 1)
	}
	s = generationsServer(t, clock, "name: debian, type: apt"+options, mirrors...)
	c = &aptClient{s: s, addr: "192.0.2.1:1"}
	aptUpdate(t, c)
	return s, c, clock, mirrors
}

func release(m *treeMirror, n int) {
	members, root := aptVersion(n, false)
	m.publish(members)
	m.publish(root)
}

// aptUpdate is all that a client does, and the release that it got.
func aptUpdate(t *testing.T, c *aptClient) int {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	require.NoError(t, c.begin(random))
	for len(c.todo) > 0 {
		require.NoError(t, c.step(random))
	}
	require.Zero(t, c.failed)
	return int(c.date.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
}

const stale = time.Minute // longer than a root is fresh

// eventually is the release that a client gets when it asks until it is n. Each
// of two mirrors is asked at least once in four validations, but the clock here
// is quicker than a disk: what is still being stored is not validated.
func eventually(t *testing.T, c *aptClient, clock *aClock, n int) (got int) {
	t.Helper()
	assert.Eventually(t, func() bool {
		clock.pass(stale)
		got = aptUpdate(t, c)
		return got == n
	}, 5*time.Second, time.Millisecond)
	return got
}

// TestBehind: a mirror that is never updated holds nobody back, and one that is
// rolled back takes nobody with it (B42).
func TestBehind(t *testing.T) {
	_, c, clock, mirrors := aptCase(t, "")
	for n := 2; n < 12; n++ {
		release(mirrors[1], n)
		assert.Equal(t, n, eventually(t, c, clock, n))
	}
	release(mirrors[1], 5)
	for range 4 {
		clock.pass(stale)
		assert.Equal(t, 11, aptUpdate(t, c))
	}
	mirrors[0].Close()
	for range 4 {
		clock.pass(stale)
		assert.Equal(t, 11, aptUpdate(t, c))
	}
}

// TestHold: a root whose members are not there is not published, until it has
// waited for long enough.
func TestHold(t *testing.T) {
	_, c, clock, mirrors := aptCase(t, ", options: {hold: 5m}")
	_, root := aptVersion(2, false)
	for _, m := range mirrors {
		m.publish(root)
	}
	for range 5 {
		clock.pass(stale)
		assert.Equal(t, 1, aptUpdate(t, c))
	}
	clock.pass(stale)
	require.NoError(t, c.begin(rand.New(rand.NewPCG(1, 1))))
	assert.Equal(t, 2, c.date.Minute(), "published alone")
	members, _ := aptVersion(2, false)
	mirrors[0].publish(members)
	c.todo = nil
	assert.Equal(t, 2, eventually(t, c, clock, 2))
}

// TestMixed: a Release that is not the InRelease's is of a mirror in the middle
// of an update; what is published stays, and so does its signature.
func TestMixed(t *testing.T) {
	s, c, clock, mirrors := aptCase(t, "")
	members, root := aptVersion(2, false)
	for _, m := range mirrors {
		m.publish(members)
		m.publish(tree{suite + "InRelease": root[suite+"InRelease"]})
	}
	clock.pass(stale)
	assert.Equal(t, 1, aptUpdate(t, c))
	old := &aptClient{s: s, addr: "192.0.2.2:1", old: true}
	assert.Equal(t, 1, aptUpdate(t, old))
	mirrors[1].publish(root)
	assert.Equal(t, 2, eventually(t, c, clock, 2))
	assert.Equal(t, 2, eventually(t, old, clock, 2))
}

// TestReplaced: a client that has a root which is no more gets its members as
// they were, by both names, and a new one those of the new root.
func TestReplaced(t *testing.T) {
	_, c, clock, mirrors := aptCase(t, "")
	random := rand.New(rand.NewPCG(1, 1))
	require.NoError(t, c.begin(random))
	for _, m := range mirrors {
		release(m, 2)
	}
	clock.pass(stale)
	other := &aptClient{s: c.s, addr: "192.0.2.3:1"}
	assert.Equal(t, 2, eventually(t, other, clock, 2))
	for len(c.todo) > 0 {
		c.byHash = len(c.todo)%2 == 0
		require.NoError(t, c.step(random))
	}
	assert.Zero(t, c.failed)
}

// TestRestart: what was published is published still, and an older root is
// refused, by a server that remembers nothing but what is stored.
func TestRestart(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	m := newTreeMirror(t)
	release(m, 5)
	dir := t.TempDir()
	for n, then := range []int{5, 3, 7} {
		release(m, then)
		cfg, _ := must(t, "hubs:\n- {name: debian, type: apt, upstream: [{server: '"+m.URL+"'}]}\n")
		cfg.Storage.Local.Path = dir
		s, err := New(cfg, Options{Now: clock.Now})
		require.NoError(t, err)
		clock.pass(time.Hour)
		assert.Equal(t, []int{5, 5, 7}[n], aptUpdate(t, &aptClient{s: s, addr: "192.0.2.1:1"}))
		require.NoError(t, s.Close())
	}
}

// TestExpired: past its date a root is answered as long as upstream vouches for
// it; when nobody can be asked it is a 503, which clients survive.
func TestExpired(t *testing.T) {
	for _, serve := range []bool{false, true} {
		t.Run(fmt.Sprintf("serve %v", serve), func(t *testing.T) {
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			m := newTreeMirror(t)
			text := "Date: Mon, 01 Jun 2026 00:00:00 UTC\nValid-Until: Mon, 08 Jun 2026 00:00:00 UTC\n"
			m.publish(tree{suite + "InRelease": {[]byte(text), clock.Now()}})
			options := ""
			if serve {
				options = ", options: {expired: serve}"
			}
			s := generationsServer(t, clock, "name: debian, type: apt"+options, m)
			get := func() int {
				clock.pass(6 * time.Minute)
				w := ask(s, "GET", "/debian"+suite+"InRelease")
				for x := w.Header().Get("X-Cache"); x == "HIT" || x == "COALESCED"; x = w.Header().Get("X-Cache") { // it is still being stored
					w = ask(s, "GET", "/debian"+suite+"InRelease")
				}
				if w.Code == 503 {
					assert.NotEmpty(t, w.Body.String())
					assert.NotEmpty(t, w.Header().Get("Retry-After"))
				}
				return w.Code
			}
			assert.Equal(t, 200, get())
			clock.pass(8 * 24 * time.Hour)
			assert.Equal(t, 200, get(), "upstream has no other")
			m.Close()
			assert.Equal(t, map[bool]int{false: 503, true: 200}[serve], get())
		})
	}
}

// TestOneObject: a member's two names are one object, fetched under the one that
// mirrors have.
func TestOneObject(t *testing.T) {
	for _, c := range []struct {
		name, first, second string
		drop                string // what the mirrors do not have
	}{
		{"by hash", "by-hash", "Packages", "/Packages"},
		{"canonical", "by-hash", "Packages", "/by-hash"},
		{"canonical first", "Packages", "by-hash", "/by-hash"},
		{"both", "Packages", "by-hash", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			m := newTreeMirror(t)
			members, root := aptVersion(1, true)
			hashed := ""
			for name := range members {
				if strings.HasPrefix(name, suite+"main/binary-amd64/by-hash") && string(members[name].content) == string(members[suite+"main/binary-amd64/Packages"].content) {
					hashed = name
				}
				if c.drop == "/by-hash" && strings.Contains(name, c.drop) || c.drop == "/Packages" && strings.HasSuffix(name, c.drop) {
					defer delete(members, name)
					continue
				}
				m.publish(tree{name: members[name]})
			}
			m.publish(root)
			s := generationsServer(t, clock, "name: debian, type: apt", m)
			paths := map[string]string{"by-hash": hashed, "Packages": suite + "main/binary-amd64/Packages"}
			require.Equal(t, 200, ask(s, "GET", "/debian"+suite+"InRelease").Code)
			first := ask(s, "GET", "/debian"+paths[c.first])
			require.Equal(t, http.StatusOK, first.Code)
			m.drop("/Packages")
			m.drop(hashed)
			second := ask(s, "GET", "/debian"+paths[c.second])
			require.Equal(t, http.StatusOK, second.Code)
			assert.Contains(t, []string{"HIT", "COALESCED"}, second.Header().Get("X-Cache"))
			assert.Equal(t, first.Body.String(), second.Body.String())
			want := map[string]string{"by-hash": "public, max-age=31536000, immutable", "Packages": "no-cache"}
			assert.Equal(t, want[c.first], first.Header().Get("Cache-Control"))
			assert.Equal(t, want[c.second], second.Header().Get("Cache-Control"))
		})
	}
}

// TestListedButGone: a member that the mirrors have no more makes its root be
// looked at again (PROTOCOLS 0.13).
func TestListedButGone(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	m := newTreeMirror(t)
	release(m, 1)
	s := generationsServer(t, clock, "name: debian, type: apt", m)
	require.Equal(t, 200, ask(s, "GET", "/debian"+suite+"InRelease", "Host", "x").Code)
	for x := ""; x != "HIT"; { // until the root is stored
		x = ask(s, "GET", "/debian"+suite+"InRelease", "Host", "x").Header().Get("X-Cache")
		_, body, err := s.store.Open(t.Context(), exchange.Key{Hub: "debian", Path: suite + "InRelease"})
		if err != nil {
			x = ""
			continue
		}
		body.Close()
	}
	release(m, 2)
	w := ask(s, "GET", "/debian"+suite+"main/binary-amd64/Packages")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code, "the client has the old root")
	assert.Eventually(t, func() bool {
		return strings.Contains(ask(s, "GET", "/debian"+suite+"InRelease").Body.String(), "00:02:00")
	}, 5*time.Second, time.Millisecond, "though it is fresh")
}

// TestSigned: a signature is that of the root which the client has, or is about
// to get, in whatever order it asks for them.
func TestSigned(t *testing.T) {
	repomd := func(n int) string {
		return fmt.Sprintf("<repomd><revision>%d</revision></repomd>", n)
	}
	for _, c := range []struct {
		kind, root, signature string
		content               func(n int) string
	}{
		{"rpm", "/9/repodata/repomd.xml", ".asc", repomd},
		{"pacman", "/core/os/x86_64/core.db", ".sig", func(n int) string { return fmt.Sprintf("database %d", n) }},
	} {
		t.Run(c.kind, func(t *testing.T) {
			clock, at, get := signedRoot(t, "name: r, type: "+c.kind, c.root, c.signature, c.content)
			move := func(n int) { // what another client sees
				t.Helper()
				at(n)
				require.Eventually(t, func() bool {
					clock.pass(6 * time.Minute)
					return get("192.0.2.9", c.root) == c.content(n)
				}, 5*time.Second, time.Millisecond)
			}
			const a = "192.0.2.1"
			assert.Equal(t, c.content(1), get(a, c.root))
			move(2)
			assert.Equal(t, "signature of "+c.content(1), get(a, c.root+c.signature), "of the root that it has")
			assert.Equal(t, "signature of "+c.content(2), get(a, c.root+c.signature), "a new beginning")
			assert.Equal(t, c.content(2), get(a, c.root))
			assert.Equal(t, "signature of "+c.content(2), get(a, c.root+c.signature))
			assert.Equal(t, "signature of "+c.content(2), get(a, c.root+c.signature))

			at(1) // the mirror goes back
			clock.pass(time.Hour)
			assert.Equal(t, c.content(2), get(a, c.root))
			assert.Equal(t, "signature of "+c.content(2), get(a, c.root+c.signature))
		})
	}
}

// TestUnsigned: a mirror that has no signature, or fails at it, is a mirror all the same.
func TestUnsigned(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	m := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".asc"):
			w.WriteHeader(http.StatusForbidden)
		case strings.HasSuffix(r.URL.Path, ".key"):
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprint(w, "<repomd></repomd>")
		}
	}))
	defer m.Close()
	s := generationsServer(t, clock, "name: r, type: rpm", &treeMirror{Server: m})
	assert.Equal(t, 200, ask(s, "GET", "/r/9/repodata/repomd.xml").Code)
	assert.Equal(t, 403, ask(s, "GET", "/r/9/repodata/repomd.xml.asc").Code)
	assert.Equal(t, 503, ask(s, "GET", "/r/9/repodata/repomd.xml.key").Code)
}
