package hub

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestPath(t *testing.T) {
	tests := []struct {
		name, path, canonical, target string // target "": as canonical
	}{
		{"root", "/", "/", ""},
		{"plain", "/debian/pool/a_1.0-1~rc1_amd64.deb", "/debian/pool/a_1.0-1~rc1_amd64.deb", ""},
		{"apt's escapes", "/libx%2b%2b1_1.0%7erc1.deb", "/libx++1_1.0~rc1.deb", "/libx%2b%2b1_1.0%7erc1.deb"},
		{"dnf's escapes", "/a%2bb%5ec", "/a+b%5Ec", "/a%2bb%5ec"},
		{"zypper's escapes", "/a+b%5Ec", "/a+b%5Ec", ""},
		{"raw caret", "/a^b", "/a%5Eb", ""},
		{"pacman's colon and plus", "/x-1:2+3.pkg", "/x-1:2+3.pkg", ""},
		{"go's bang", "/%21upper/@v/list", "/!upper/@v/list", "/%21upper/@v/list"},
		{"npm's encoded slash", "/@sc%2fname", "/@sc%2Fname", "/@sc%2fname"},
		{"encoded slash at the ends of a segment", "/%2fa%2f/b", "/%2Fa%2F/b", "/%2fa%2f/b"},
		{"case", "/A/b%C3%A9", "/A/b%C3%A9", ""},
		{"raw UTF-8", "/é", "/%C3%A9", ""},
		{"space and question mark", "/a%20b%3fc", "/a%20b%3Fc", "/a%20b%3fc"},
		{"hash and percent", "/a%23b%25c", "/a%23b%25c", ""},
		{"percent that hides nothing", "/100%25/a%2541", "/100%25/a%2541", ""},
		{"current directory", "/dir/./Packages", "/dir/Packages", ""},
		{"encoded current directory", "/dir/%2e/Packages", "/dir/Packages", ""},
		{"final current directory", "/dir/.", "/dir/", ""},
		{"only current directory", "/.", "/", ""},
		{"double slashes", "//a///b", "/a/b", ""},
		{"double slashes keep the spelling", "//a%7e//b", "/a~/b", "/a%7e/b"},
		{"trailing slash", "/simple/x/", "/simple/x/", ""},
		{"many trailing slashes", "/simple/x//", "/simple/x/", ""},
		{"names of dots", "/.../a../..b/.c", "/.../a../..b/.c", ""},
		{"longer than the stack's buffers", "/" + strings.Repeat("abc%20", 100), "/" + strings.Repeat("abc%20", 100), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.ParseRequestURI(test.path)
			require.NoError(t, err)
			canonical, target, err := Path(u)
			require.NoError(t, err)
			assert.Equal(t, test.canonical, canonical)
			if test.target == "" {
				test.target = test.canonical
			}
			assert.Equal(t, test.target, target)

			again, target, err := Path(mustParse(t, canonical))
			require.NoError(t, err)
			assert.Equal(t, canonical, again, "idempotent")
			assert.Equal(t, canonical, target)
		})
	}
}

func TestPathRefuses(t *testing.T) {
	for _, path := range []string{
		"/../etc/passwd", "/a/../../etc/passwd", "/a/..", "/%2e%2e/etc/passwd", "/%2E%2e/etc/passwd", "/.%2e/etc/passwd",
		"/a/..%2fetc/passwd", "/a%2f..", "/..%2F..%2Fetc/passwd", "/a%2f..%2fb", "/a%2f./b", "/.%2fa", "/a%2f.",
		"/%252e%252e/etc/passwd", "/%252e%252e%252fetc", "/a%252fb", "/a%255cb", "/%25252e%25252e/etc",
		`/..\etc\passwd`, `/a\b`, "/..%5cetc", "/%5c..%5c", "/..;/etc/passwd", "/..;a=b/etc", "/%2e%2e;/etc", "/..%3b/etc", "/a%2f..;b",
		"/%c0%ae%c0%ae/etc/passwd", "/%e0%80%ae/etc", "/%c0%af", "/%ff", "/a%80", "/%f8%80%80%80%af", "/%ed%a0%80",
		"/%00", "/a%00.deb", "/a%0d%0aHost:%20x", "/a%0a", "/%1b[31m", "/%7f", "/%c2%85",
	} {
		t.Run(path, func(t *testing.T) {
			u, err := url.ParseRequestURI(path)
			require.NoError(t, err)
			canonical, target, err := Path(u)
			var refused *exchange.Error
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, http.StatusBadRequest, refused.Status)
			assert.Empty(t, canonical+target)
		})
	}
	for _, u := range []*url.URL{{Path: "a"}, {Path: "*"}, {RawPath: "/%", Path: "/"}, {RawPath: "/%4", Path: "/"}, {RawPath: "/%u002e", Path: "/"}, {Path: "/a\x00"}, {Path: "/a\r\nb"}} {
		_, _, err := Path(u)
		assert.Error(t, err, "%#v", u)
	}
}

// Forms that other servers read as a way out, and we as harmless names.
func TestPathHarmless(t *testing.T) {
	for path, want := range map[string]string{
		"/....//etc/passwd":    "/..../etc/passwd",
		"//etc/passwd":         "/etc/passwd",
		"///etc/passwd":        "/etc/passwd",
		"/.;/etc/passwd":       "/.;/etc/passwd",
		"/%2fetc/passwd":       "/%2Fetc/passwd",
		"/%ef%bc%8e%ef%bc%8e/": "/%EF%BC%8E%EF%BC%8E/",
	} {
		canonical, _, err := Path(mustParse(t, path))
		require.NoError(t, err)
		assert.Equal(t, want, canonical)
	}
}

func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                "",
		"a=1&b=%2f+c/d?e": "a=1&b=%2f+c/d?e",
		"a=#b c\"é":       "a=%23b%20c%22%C3%A9",
	} {
		assert.Equal(t, want, Query(raw))
		assert.Equal(t, want, Query(want))
	}
}

func TestPathAllocatesNothing(t *testing.T) {
	for _, u := range []*url.URL{
		mustParse(t, "/debian/pool/main/a/apt/apt_2.6.1_amd64.deb"),
		mustParse(t, "/x-1:2+3!(a)*.pkg"), // net/url keeps a RawPath
		{Path: "/a b/c", RawPath: "/a%20b/c"},
	} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { _, _, _ = Path(u) }), u.Path)
	}
	assert.Zero(t, testing.AllocsPerRun(100, func() { Query("a=1&b=2") }))
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/./b//c/", "/a%2fb", "/%2e%2e/", "/..;/", "/a%252e", "/é^|\"", "/%C3%A9", "/a%2f%2f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			decoded = raw
		}
		for _, u := range []*url.URL{{Path: raw}, {Path: decoded, RawPath: raw}} {
			canonical, target, err := Path(u)
			if err != nil {
				continue
			}
			c, err := url.ParseRequestURI(canonical)
			require.NoError(t, err)
			again, _, err := Path(c)
			require.NoError(t, err)
			assert.Equal(t, canonical, again)

			tu, err := url.ParseRequestURI(target)
			require.NoError(t, err)
			again, target2, err := Path(tu)
			require.NoError(t, err)
			assert.Equal(t, canonical, again, "target and key name one path")
			assert.Equal(t, target, target2)
			assert.Equal(t, c.Path, tu.Path)

			for _, segment := range strings.FieldsFunc(c.Path[1:], func(r rune) bool { return r == '/' || r == '\\' }) {
				assert.NotEqual(t, "..", segment)
				assert.NotEqual(t, ".", segment)
			}
		}
	})
}

func BenchmarkPath(b *testing.B) {
	u := mustParse(b, "/debian/pool/main/libs/libstdc++/libstdc++6_12.2.0-14_amd64.deb")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = Path(u)
	}
}

func mustParse(t testing.TB, path string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(path)
	require.NoError(t, err)
	return u
}
