package disk

import (
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		name string
		key  exchange.Key
		want string
	}{
		{"default hub", exchange.Key{Hub: "default", Path: "/debian/pool/a.deb"}, "debian/pool/a.deb"},
		{"other hub", exchange.Key{Hub: "npm", Path: "/left-pad"}, "npm/left-pad"},
		{"decoded", exchange.Key{Hub: "default", Path: "/a%20b/x+1~rc.deb"}, "a b/x+1~rc.deb"},
		{"UTF-8", exchange.Key{Hub: "default", Path: "/%C3%BC"}, "ü"},
		{"no UTF-8", exchange.Key{Hub: "default", Path: "/%FC%C3%BC"}, "%FCü"},
		{"slash", exchange.Key{Hub: "npm", Path: "/@sc%2Fname"}, "npm/@sc%2Fname"},
		{"percent", exchange.Key{Hub: "default", Path: "/a%252Fb"}, "a%252Fb"},
		{"control", exchange.Key{Hub: "default", Path: "/a%0A%00%7F"}, "a%0A%00%7F"},
		{"dots", exchange.Key{Hub: "default", Path: "/./../..."}, "%2E/%2E./..."},
		{"empty segments", exchange.Key{Hub: "default", Path: "//a//b"}, "%-/a/%-/b"},
		{"trailing slash", exchange.Key{Hub: "default", Path: "/a/"}, "a/__index"},
		{"root", exchange.Key{Hub: "default", Path: "/"}, "__index"},
		{"reserved", exchange.Key{Hub: "default", Path: "/a/__index/__content"}, "a/%5F_index/%5F_content"},
		{"reserved at the top", exchange.Key{Hub: "default", Path: "/.temp/.meta"}, "%2Etemp/.meta"},
		{"reserved name at the top", exchange.Key{Hub: "default", Path: "/.meta"}, "%2Emeta"},
		{"query", exchange.Key{Hub: "default", Path: "/a?b=/c%20d"}, "a%?b=%2Fc%2520d"},
		{"variant", exchange.Key{Hub: "default", Path: "/a/?q", Variant: "x/y"}, "a/__index%?q%@x%2Fy"},
		{"hub name", exchange.Key{Hub: "../x", Path: "/a"}, "..%2Fx/a"},
		{"not canonical", exchange.Key{Hub: "default", Path: "/a%2Bb"}, "%#4a1b2c2a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := place(test.key)
			if strings.Contains(test.want, hashMark) {
				assert.True(t, strings.HasPrefix(got, hashMark), got)
				assert.Len(t, got, len(hashMark)+64)
				return
			}
			assert.Equal(t, test.want, got)
			key, ok := placeKey(test.key.Hub, got)
			assert.True(t, ok)
			assert.Equal(t, test.key, key)
		})
	}
}

// checkPlace is what holds of every key.
func checkPlace(t *testing.T, key exchange.Key) string {
	t.Helper()
	at := place(key)
	require.Equal(t, path.Clean(at), at, "%q", key)
	require.True(t, utf8.ValidString(at) || !utf8.ValidString(key.Hub))
	require.LessOrEqual(t, len(at), maxPath)
	top := true
	for name := range strings.SplitSeq(at, "/") {
		require.NotContains(t, []string{"", ".", "..", contentName}, name, "%q", key)
		require.LessOrEqual(t, len(name), maxName)
		require.False(t, top && (name == tempDir || name == metaDir), "%q", key)
		require.Equal(t, -1, strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }), "%q", key)
		top = false
	}
	if back, ok := placeKey(key.Hub, at); ok {
		require.Equal(t, key, back, "at %q", at)
	} else {
		require.Contains(t, at, hashMark, "%q has no inverse", key)
	}
	if inside, ok := placeKey(key.Hub, at+"/"+contentName); ok {
		require.Equal(t, key, inside, "at %q", at)
	}
	return at
}

// Two keys of a hub never share a place, whatever their spelling.
func TestPlaceIsInjective(t *testing.T) {
	pieces := []string{
		"a", "b", "/", "/", "%", "%2", "%2F", "%2f", "%25", "%20", " ", "+", "%2B", ".", "..", "?", "%3F", "@", "%@", "%?", "%#", "%-", "-",
		"__index", "__content", ".temp", ".meta", "%2E", "%5F", "\x00", "%00", "\xff", "%FF", "ü", "%C3%BC", strings.Repeat("n", 130),
	}
	random := rand.New(rand.NewPCG(3, 4))
	text := func(n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	seen := map[string]exchange.Key{}
	for range 20_000 {
		key := exchange.Key{Hub: "default", Path: "/" + text(5)}
		if random.IntN(8) == 0 {
			key.Path = text(4)
		}
		if random.IntN(4) == 0 {
			key.Variant = text(3)
		}
		at := checkPlace(t, key)
		if other, ok := seen[at]; ok {
			require.Equal(t, other, key, "both at %q", at)
		}
		seen[at] = key
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("default", "/a%20b/?x=/y", "br", "/a b/?x=/y", "br")
	f.Add("npm", "/@sc%2Fname", "", "/@sc/name", "")
	f.Add("default", "//../.temp/__index", "%@", "/%2E%2E", "")
	f.Fuzz(func(t *testing.T, hub, p, v, q, w string) {
		a, b := exchange.Key{Hub: hub, Path: p, Variant: v}, exchange.Key{Hub: hub, Path: q, Variant: w}
		if place(a) == checkPlace(t, b) {
			require.Equal(t, a, b)
		}
		checkPlace(t, a)
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"key":{"Hub":"default","Path":"/a"},"status":200,"size":3}`))
	f.Add([]byte(`{"key":{"Path":"/ü"},"status":200,"size":3,"latin1":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b, 3)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			return
		}
		b, err = marshalEntry(e)
		require.NoError(t, err)
		again, err := decodeEntry(b, 3)
		require.NoError(t, err)
		require.Equal(t, e.Key, again.Key)
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add(state{Clean: true}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil {
			again, err := decodeState(s.encode())
			require.NoError(t, err)
			require.Equal(t, s.Clean, again.Clean)
		}
	})
}
