package maven

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

func parse(t testing.TB, h *Hub, target string) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, New(hub.Options{Name: "maven"}),
		hubtest.Sample{Target: "/org/example/demo/1.0/demo-1.0.jar", Header: http.Header{"Cache-Control": {"no-cache"}, "Accept-Encoding": {"gzip,deflate"}}},
		hubtest.Sample{Target: "/org/example/demo/1.0/demo-1.0.pom.sha1"},
		hubtest.Sample{Target: "/org/example/demo/maven-metadata.xml"},
		hubtest.Sample{Target: "/org/example/demo/maven-metadata.xml.sha1"},
		hubtest.Sample{Target: "/org/example/demo_2.13/1%2b2/demo_2.13-1%2b2.jar"},
		hubtest.Sample{Target: "/archetype-catalog.xml"},
		hubtest.Sample{Target: "/.index/nexus-maven-repository-index.gz"},
	)
}

func TestParse(t *testing.T) {
	const mutable, immutable = freshness.Mutable, freshness.Immutable
	for _, test := range []struct {
		name, target string
		class        freshness.Class
		ttl          time.Duration
		pkg, version string
	}{
		{"jar", "/org/example/demo/1.0/demo-1.0.jar", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"classifier", "/org/example/demo/1.0/demo-1.0-sources.jar", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"two extensions", "/org/example/demo/1.0/demo-1.0-bin.tar.gz", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"gradle", "/org/example/demo/1.0/demo-1.0.module", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"short group", "/junit/junit/4.13/junit-4.13.pom", immutable, metadataTTL, "junit:junit", "4.13"},
		{"signature", "/org/example/demo/1.0/demo-1.0.jar.asc", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"side file", "/org/example/demo/1.0/demo-1.0.jar.sha1", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"side file of a signature", "/org/example/demo/1.0/demo-1.0.jar.asc.sha512", immutable, metadataTTL, "org.example:demo", "1.0"},
		{"other name", "/org/example/demo/1.0/other-1.0.jar", mutable, metadataTTL, "org.example:demo", "1.0"},
		{"no extension", "/org/example/demo/1.0/demo-1.0-x", mutable, metadataTTL, "org.example:demo", "1.0"},
		{"other version", "/org/example/demo/1.0/demo-1.01.jar", mutable, metadataTTL, "org.example:demo", "1.0"},
		{"metadata", "/org/example/demo/maven-metadata.xml", mutable, metadataTTL, "", ""},
		{"metadata's side file", "/org/example/demo/maven-metadata.xml.sha256", mutable, metadataTTL, "", ""},
		{"group's metadata", "/org/maven-metadata.xml", mutable, metadataTTL, "", ""},
		{"metadata at the top", "/maven-metadata.xml", mutable, metadataTTL, "", ""},
		{"snapshot's metadata", "/g/a/1.0-SNAPSHOT/maven-metadata.xml", mutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"snapshot", "/g/a/1.0-SNAPSHOT/a-1.0-SNAPSHOT.jar", mutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"snapshot's side file", "/g/a/1.0-SNAPSHOT/a-1.0-SNAPSHOT.jar.md5", mutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"timestamp", "/g/a/1.0-SNAPSHOT/a-1.0-20260102.030405-17.jar", immutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"timestamp and classifier", "/g/a/1.0-SNAPSHOT/a-1.0-20260102.030405-1-tests.jar.sha1", immutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"timestamp without a number", "/g/a/1.0-SNAPSHOT/a-1.0-20260102.030405-.jar", mutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"release in a snapshot", "/g/a/1.0-SNAPSHOT/a-1.0.jar", mutable, snapshotTTL, "g:a", "1.0-SNAPSHOT"},
		{"archetypes", "/archetype-catalog.xml", mutable, indexTTL, "", ""},
		{"index", "/.index/x.gz", mutable, indexTTL, "", ""},
		{"a file at the top", "/robots.txt", mutable, metadataTTL, "", ""},
		{"query", "/g/a/1/a-1.jar?x", immutable, metadataTTL, "g:a", "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, New(hub.Options{Name: "maven"}), test.target)
			require.NoError(t, err)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: test.ttl}, req.Policy)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
			assert.NotContains(t, req.Key.Path, "?")
		})
	}
	for _, target := range []string{"/", "/org/example/"} {
		_, err := parse(t, New(hub.Options{Name: "maven"}), target)
		assert.Error(t, err, "no listings")
	}
}

// A source of content by mirror and path; a path at the top is at all mirrors.
type source map[string]string

func (s source) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	for _, m := range []string{"http://a", "http://b"} {
		text, ok := s[m+req.Target]
		if !ok {
			text, ok = s[req.Target]
		}
		if !ok || slices.Contains(req.Avoid, m) {
			continue
		}
		return &exchange.Response{
			Entry: &exchange.Entry{
				Key: req.Key, Status: 200, Size: int64(len(text)), Mirror: m,
				Header: http.Header{"Content-Type": {"text/xml"}},
			},
			Body: io.NopCloser(strings.NewReader(text)),
		}, nil
	}
	return &exchange.Response{Entry: &exchange.Entry{Status: 404}, Body: http.NoBody}, nil
}

func get(t testing.TB, h *Hub, s source, target string) (int, string, error) {
	t.Helper()
	req, err := parse(t, h, target)
	require.NoError(t, err)
	resp, err := h.Rewrite(h.Gate(s, nil)).Get(t.Context(), req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.Entry.Status == 200 {
		assert.Equal(t, req.Key, resp.Entry.Key)
	}
	return resp.Entry.Status, string(b), err
}

// abc has the checksums of RFC 3174 and RFC 1321.
const (
	abcSHA1 = "a9993e364706816aba3e25717850c26c9cd0d89d"
	abcMD5  = "900150983cd24fb0d6963f7d28e17f72"
)

func TestComputed(t *testing.T) {
	h := New(hub.Options{Name: "maven"})
	s := source{
		"/g/a/maven-metadata.xml": "abc", "/g/a/maven-metadata.xml.sha1": "of another one",
		"/g/a/1-SNAPSHOT/a-1-SNAPSHOT.jar": "abc",
	}
	for target, want := range map[string]string{
		"/g/a/maven-metadata.xml":                 "abc",
		"/g/a/maven-metadata.xml.sha1":            abcSHA1,
		"/g/a/maven-metadata.xml%2esha1":          abcSHA1,
		"/g/a/1-SNAPSHOT/a-1-SNAPSHOT.jar.md5":    abcMD5,
		"/g/a/1-SNAPSHOT/a-1-SNAPSHOT.jar.sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	} {
		status, body, err := get(t, h, s, target)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, want, body, target)
	}
	status, _, err := get(t, h, s, "/g/b/maven-metadata.xml.sha1")
	require.NoError(t, err)
	assert.Equal(t, 404, status)
}

func TestChecked(t *testing.T) {
	const jar, side = "/g/a/1/a-1.jar", "/g/a/1/a-1.jar.sha1"
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger"), Entries: 1000})
	require.NoError(t, err)
	defer l.Close()
	stored := ""
	o := hub.Options{Name: "maven", Mirrors: make([]*url.URL, 2), Cache: func(next exchange.Source) exchange.Source {
		return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
			if stored == "" || req.Key.Path != jar {
				return next.Get(ctx, req)
			}
			return source{jar: stored}.Get(ctx, req)
		})
	}}
	o.Ledger = l
	h := New(o)
	for _, test := range []struct {
		name, stored string
		s            source
		want         string // "" is 502
	}{
		{"good", "", source{side: abcSHA1}, abcSHA1},
		{"with a name", "", source{side: strings.ToUpper(abcSHA1) + "  a-1.jar\n"}, strings.ToUpper(abcSHA1) + "  a-1.jar\n"},
		{"a page at one mirror", "", source{"http://a" + side: "<html>404</html>", "http://b" + side: abcSHA1}, abcSHA1},
		{"a page at all", "", source{side: "<html>404</html>"}, ""},
		{"other length", "", source{side: abcMD5}, ""},
		{"empty", "", source{side: ""}, ""},
		{"long", "", source{side: abcSHA1 + strings.Repeat(" ", maxSide)}, ""},
		{"three words", "", source{side: abcSHA1 + " a b"}, ""},
		{"of what is stored", "abc", source{side: abcSHA1}, abcSHA1},
		{"of something else than stored", "abd", source{side: abcSHA1}, ""},
		{"of something else at one mirror", "abc", source{"http://a" + side: strings.Repeat("0", 40), "http://b" + side: abcSHA1}, abcSHA1},
	} {
		t.Run(test.name, func(t *testing.T) {
			stored = test.stored
			_, body, err := get(t, h, test.s, side)
			if test.want != "" {
				require.NoError(t, err)
				assert.Equal(t, test.want, body)
				fact, _ := l.Lookup(t.Context(), exchange.Key{Hub: "maven", Path: jar})
				assert.Equal(t, exchange.Digest("sha1:"+abcSHA1), fact.Digest)
				return
			}
			var stated *exchange.Error
			require.True(t, errors.As(err, &stated))
			assert.Equal(t, http.StatusBadGateway, stated.Status, "Maven would remember a 404")
		})
	}
	status, _, err := get(t, h, source{}, side)
	require.NoError(t, err)
	assert.Equal(t, 404, status)
}

// A mirror that is behind does not take back what clients have seen.
func TestNewest(t *testing.T) {
	const path = "/g/a/maven-metadata.xml"
	of := func(t string) string {
		return "<metadata><versioning><lastUpdated>" + t + "</lastUpdated></versioning></metadata>"
	}
	const early, late = "20260101000000", "20260102000000"
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	h := New(hub.Options{Name: "maven", Mirrors: make([]*url.URL, 2), Now: now})
	for _, step := range []struct {
		name string
		s    source
		want string // "" is 502
	}{
		{"the future", source{path: of("99991231000000")}, of("99991231000000")},
		{"first", source{path: of(early)}, of(early)},
		{"later", source{path: of(late)}, of(late)},
		{"the same", source{path: of(late)}, of(late)},
		{"behind at one mirror", source{"http://a" + path: of(early), "http://b" + path: of(late)}, of(late)},
		{"behind at all", source{path: of(early)}, ""},
		{"no time", source{path: of("yesterday")}, of("yesterday")},
		{"long", source{path: of(early) + strings.Repeat(" ", maxMetadata)}, of(early) + strings.Repeat(" ", maxMetadata)},
	} {
		_, body, err := get(t, h, step.s, path)
		if step.want == "" {
			require.Error(t, err, step.name)
			continue
		}
		require.NoError(t, err, step.name)
		assert.True(t, body == step.want, step.name)
	}
}

func FuzzLastUpdated(f *testing.F) {
	f.Add([]byte("<lastUpdated>20260101000000</lastUpdated>"))
	f.Add([]byte("<lastUpdated></lastUpdated>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if date := lastUpdated(text); !date.IsZero() {
			assert.Contains(t, string(text), date.Format("20060102150405"))
		}
	})
}

func FuzzParseSide(f *testing.F) {
	f.Add([]byte(abcSHA1 + "  a-1.jar\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := parseSide(text, "sha1"); err == nil {
			assert.Len(t, d.Hex(), 40)
			assert.Contains(t, strings.ToLower(string(text)), d.Hex())
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/g/a/1/a-1.jar", "/g/a/1-SNAPSHOT/a-1-20260102.030405-1.jar.sha1", "/maven-metadata.xml.md5", "/.sha1", "/a/.sha1"} {
		f.Add(seed)
	}
	h := New(hub.Options{Name: "maven"})
	f.Fuzz(func(t *testing.T, target string) {
		hubtest.Reparse(t, h, target)
	})
}
