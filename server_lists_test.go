package cacheproxy

import (
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// TestLists: what boots machines is what the list beside it says, whichever
// mirror has it, though its name is mutable; and when the list changes, it does.
func TestLists(t *testing.T) {
	for _, c := range []struct{ name, hub, list, file, line string }{
		{"installer", "name: x, type: apt", "/dists/stable/main/installer-amd64/current/images/SHA256SUMS", "netboot/linux", "%x  ./%s\n"},
		{"dated installer", "name: x, type: apt", "/dists/stable/main/installer-amd64/20260101/images/SHA256SUMS", "netboot/linux", "%x  ./%s\n"},
		{"tree", "name: x, type: rpm", "/9/os/.treeinfo", "images/pxeboot/vmlinuz", "[checksums]\n%2[2]s = sha256:%[1]x\n"},
		{"tree by another name", "name: x, type: rpm", "/9/os/treeinfo", "images/pxeboot/vmlinuz", "[checksums]\n%2[2]s = sha256:%[1]x\n"},
		{"image of apk", "name: x, type: apk", "/v3/releases/x86_64/a.iso.sha256", "a.iso", "%x  %s\n"},
		{"image of files", `name: x, cache: {policies: [{match: '\.iso$', refresh-after: never}]}`, "/i/SHA256SUMS", "a.iso", "%x *%s\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
			dir := c.list[:strings.LastIndexByte(c.list, '/')+1]
			listed := func(n int, old bool) tree {
				content := proxytest.Random(3000, uint64(n)).Bytes()
				modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
				files := tree{c.list: {fmt.Appendf(nil, c.line, sha256.Sum256(content), c.file), modified}}
				if !old {
					files[dir+c.file] = treeFile{content, modified}
				}
				return files
			}
			wrong := tree{dir + c.file: {proxytest.Random(3000, 99).Bytes(), clock.now}}
			s := generationsServer(t, clock, c.hub, mirrors...)
			get := func(path string) (int, string) {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest("GET", "/x"+path, nil))
				return w.Code, w.Body.String()
			}
			mirrors[0].publish(listed(1, true))
			mirrors[1].publish(listed(1, true))
			mirrors[0].publish(wrong)
			code, _ := get(c.list)
			require.Equal(t, 200, code)
			code, _ = get(dir + c.file)
			assert.Equal(t, 502, code, "there is nothing right")

			mirrors[1].publish(listed(1, false))
			clock.pass(2 * time.Minute)
			code, body := get(dir + c.file)
			assert.Equal(t, 200, code)
			assert.True(t, string(listed(1, false)[dir+c.file].content) == body, "the right one")
			if c.name != "installer" && c.name != "tree" {
				return
			}

			mirrors[0].publish(listed(2, false))
			mirrors[1].publish(listed(2, false))
			clock.pass(2 * time.Hour)
			old, content := body, string(listed(2, false)[dir+c.file].content)
			require.Eventually(t, func() bool { // the list may be read again behind who is given the old one by it
				code, body = get(dir + c.file)
				require.Equal(t, 200, code)
				require.True(t, body == content || body == old, "neither is")
				return body == content
			}, 10*time.Second, time.Millisecond, "the new one")
		})
	}
}

// TestSumsSigned: the signature of a list of checksums is the one that came with
// it, whichever mirror has been updated first, and whichever is asked for first.
// The list may become an older one: there is no order in it.
func TestSumsSigned(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
	mirrors[0].tags, mirrors[1].tags = true, true
	version := func(n int) (sums, signature tree) {
		text := fmt.Sprintf("%x  a.iso\n", sha256.Sum256([]byte{byte(n)}))
		modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
		return tree{"/i/SHA256SUMS": {[]byte(text), modified}}, tree{"/i/SHA256SUMS.gpg": {[]byte("signature of " + text), modified}}
	}
	publish := func(m *treeMirror, n int) {
		sums, signature := version(n)
		m.publish(sums)
		m.publish(signature)
	}
	publish(mirrors[0], 1)
	publish(mirrors[1], 1)
	s := generationsServer(t, clock, "name: x, cache: {timeout: 30s}", mirrors...)
	clients := 0
	pair := func() string {
		clients++
		get := func(name string) string {
			r, w := httptest.NewRequest("GET", "/x/i/"+name, nil), httptest.NewRecorder()
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", clients%200+1)
			s.ServeHTTP(w, r)
			require.Equal(t, 200, w.Code, name)
			return w.Body.String()
		}
		if clients%2 != 0 {
			sums := get("SHA256SUMS")
			require.Equal(t, "signature of "+sums, get("SHA256SUMS.gpg"))
			return sums
		}
		signature := get("SHA256SUMS.gpg")
		sums := get("SHA256SUMS")
		require.Equal(t, "signature of "+sums, signature)
		return sums
	}
	becomes := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { clock.pass(stale); return pair() == want }, 10*time.Second, time.Millisecond)
	}
	first := pair()
	for n := 2; n < 8; n++ {
		for _, m := range mirrors {
			sums, signature := version(n)
			m.publish(signature) // the list last, as mirrors take roots
			clock.pass(stale)
			pair()
			m.publish(sums)
			clock.pass(stale)
			pair()
		}
		// The clock is quicker than a disk: who first asks for a list beside the signature
		// of the next one would get that with it, as from the mirror itself.
		sums, _ := version(n)
		becomes(string(sums["/i/SHA256SUMS"].content))
	}
	publish(mirrors[0], 1)
	publish(mirrors[1], 1)
	becomes(first)
}
