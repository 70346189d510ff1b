package cran

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub(o Options) *Hub { return New(hub.Options{Name: "cran"}, o) }

func parse(t testing.TB, h *Hub, target string, header http.Header) (*exchange.Request, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return h.Parse(&http.Request{Method: http.MethodGet, URL: u, Header: header})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(Options{}),
		hubtest.Sample{Target: "/src/contrib/PACKAGES.rds", Header: http.Header{"Pragma": {"no-cache"}}},
		hubtest.Sample{Target: "/src/contrib/demo_1.0-2.tar.gz"},
		hubtest.Sample{Target: "/src/contrib/Archive/demo/demo_0.9.tar.gz"},
		hubtest.Sample{Target: "/bin/windows/contrib/4.2/demo_1.0.zip"},
		hubtest.Sample{Target: "/CRAN_mirrors.csv"},
	)
	hubtest.Run(t, newHub(Options{ByUserAgent: true}),
		hubtest.Sample{
			Target: "/src/contrib/demo_1.0.tar.gz", Forwards: []string{"User-Agent"},
			Header: http.Header{"User-Agent": {"R (4.2.2 x86_64-pc-linux-gnu x86_64 linux-gnu)"}},
		},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target string
		class        freshness.Class
		pkg, version string
	}{
		{"index", "/src/contrib/PACKAGES.gz", freshness.Mutable, "", ""},
		{"source", "/src/contrib/data.table_1.14-2.tar.gz", freshness.Immutable, "data.table", "1.14-2"},
		{"archived", "/src/contrib/Archive/demo/demo_0.9.tar.gz", freshness.Immutable, "demo", "0.9"},
		{"recommended", "/src/contrib/4.2.2/Recommended/MASS_7.3-58.tar.gz", freshness.Immutable, "MASS", "7.3-58"},
		{"another repository", "/packages/3.16/bioc/src/contrib/demo_1.0.tar.gz", freshness.Immutable, "demo", "1.0"},
		{"windows", "/bin/windows/contrib/4.2/demo_1.0.zip", freshness.Mutable, "demo", "1.0"},
		{"macosx", "/bin/macosx/big-sur-arm64/contrib/4.2/demo_1.0.tgz", freshness.Mutable, "demo", "1.0"},
		{"windows, of macosx", "/bin/windows/contrib/4.2/demo_1.0.tgz", freshness.Mutable, "", ""},
		{"no version", "/src/contrib/demo.tar.gz", freshness.Mutable, "", ""},
		{"a version that is none", "/src/contrib/demo_latest.tar.gz", freshness.Mutable, "", ""},
		{"R itself", "/src/base/R-4/R-4.2.2.tar.gz", freshness.Mutable, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parse(t, newHub(Options{}), test.target+"?x=1", nil)
			require.NoError(t, err)
			assert.Equal(t, freshness.Policy{Class: test.class, TTL: ttl}, req.Policy)
			assert.Equal(t, test.target, req.Key.Path, "no query")
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
		})
	}
	for _, target := range []string{"/", "/src/contrib/"} {
		_, err := parse(t, newHub(Options{}), target, nil)
		assert.Error(t, err, target)
	}
}

func TestByUserAgent(t *testing.T) {
	const system = "4.2.2 x86_64-pc-linux-gnu x86_64 linux-gnu"
	for _, test := range []struct{ name, target, agent, variant string }{
		{"R", "/src/contrib/x_1.0.tar.gz", "R (" + system + ")", system},
		{"its function", "/src/contrib/PACKAGES", "RStudio/1 R/4.2.2 R (" + system + ") on Linux", system},
		{"another client", "/src/contrib/x_1.0.tar.gz", "curl/8", ""},
		{"not what R sends", "/src/contrib/x_1.0.tar.gz", "R (4.2.2 ../../x\r\n)", ""},
		{"elsewhere", "/bin/windows/contrib/4.2/x_1.0.zip", "R (" + system + ")", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := http.Header{"User-Agent": {test.agent}}
			req, err := parse(t, newHub(Options{ByUserAgent: true}), test.target, header)
			require.NoError(t, err)
			assert.Equal(t, test.variant, req.Key.Variant)
			if test.variant != "" {
				assert.Equal(t, http.Header{"User-Agent": {"R (" + system + ")"}}, req.Header)
			} else {
				assert.Empty(t, req.Header)
			}
			req, err = parse(t, newHub(Options{}), test.target, header)
			require.NoError(t, err)
			assert.Empty(t, req.Key.Variant)
			assert.Empty(t, req.Header)
		})
	}
}

// read is what an index in dir teaches.
func read(dir, text string) (map[string]exchange.Digest, error) {
	taught := map[string]exchange.Digest{}
	plain, err := hub.Unpack(strings.NewReader(text))
	if err == nil {
		err = readIndex(plain, dir, func(p string, f exchange.Fact) { taught[p] = f.Digest })
	}
	return taught, err
}

// The same index in all its forms, as R's tools::write_PACKAGES wrote it, teaches the same.
func TestReadIndex(t *testing.T) {
	for _, file := range []string{"PACKAGES", "PACKAGES.rds", "v2.rds"} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", file))
			require.NoError(t, err)
			taught, err := read("/src/contrib/", string(text))
			require.NoError(t, err)
			assert.Equal(t, map[string]exchange.Digest{
				"/src/contrib/demo_1.0.tar.gz": "md5:12c4d3bea121ec6427856426005fa148",
				"/src/contrib/leaf_1.0.tar.gz": "md5:ec979c04993581ffe1cea58b6017c4a4",
			}, taught)
		})
	}
}

func TestReadDCF(t *testing.T) {
	const sum = "0123456789abcdef0123456789abcdef"
	text := "Package: a\nVersion: 1.0\nDepends: R (>= 3.5),\n  b\nMD5sum: " + strings.ToUpper(sum) + "\nPath: 4.2/Recommended\n\n\n" +
		"Package: b\nVersion: 2\nMD5sum: no sum\n\nPackage: c\nVersion: 3\nFile: other.zip\nMD5sum: " + sum + "\n\n" +
		"Package: d\nVersion: 3\nPath: ../..\nMD5sum: " + sum + "\n"
	taught, err := read("/bin/windows/contrib/4.2/", text)
	require.NoError(t, err)
	assert.Equal(t, map[string]exchange.Digest{
		"/bin/windows/contrib/4.2/4.2/Recommended/a_1.0.zip": "md5:" + sum,
		"/bin/windows/contrib/4.2/other.zip":                 "md5:" + sum,
	}, taught)
	_, err = read("/", "<html>please log in</html>")
	assert.Error(t, err)
}

// What an index says now is of one that can be read, in whichever form.
func TestRenewed(t *testing.T) {
	const was, is = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	const dir, row = "/bin/windows/contrib/4.2/", "Package: a\nVersion: 1\nMD5sum: "
	for _, test := range []struct {
		name string
		has  map[string]string
		want exchange.Digest
	}{
		{"the first form", map[string]string{"PACKAGES.rds": row + is, "PACKAGES.gz": row + was}, "md5:" + is},
		{"another form", map[string]string{"PACKAGES": row + is}, "md5:" + is},
		{"broken", map[string]string{"PACKAGES.rds": row + was + "\n\n<html>", "PACKAGES.gz": row + is}, "md5:" + is},
		{"broken, and gone from the other", map[string]string{"PACKAGES.rds": row + was + "\n\n<html>", "PACKAGES.gz": "Package: b\nVersion: 1\n"}, ""},
		{"no index", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(Options{})
			req, err := parse(t, h, dir+"a_1.zip", nil)
			require.NoError(t, err)
			next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				assert.Equal(t, renewTTL, req.Policy.TTL)
				text, ok := test.has[strings.TrimPrefix(req.Target, dir)]
				status := http.StatusOK
				if !ok {
					status = http.StatusNotFound
				}
				return &exchange.Response{Entry: &exchange.Entry{Key: req.Key, Status: status}, Body: io.NopCloser(strings.NewReader(text))}, nil
			})
			f, ok := h.renewed(t.Context(), next, req, dir)
			assert.Equal(t, test.want, f.Digest)
			assert.Equal(t, test.want != "", ok)
		})
	}
}

// What a source package became when there was a newer one is found in the archive.
func TestGate(t *testing.T) {
	var asked []string
	has := "/src/contrib/Archive/demo/demo_0.9.tar.gz"
	gate := newHub(Options{}).Gate(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		asked = append(asked, req.Target)
		e := &exchange.Entry{Key: req.Key, Status: http.StatusNotFound}
		if req.Target == has {
			e.Status = http.StatusOK
		}
		return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(""))}, nil
	}), nil)
	for _, test := range []struct {
		target string
		asked  []string
		status int
	}{
		{"/src/contrib/demo_0.9.tar.gz", []string{"/src/contrib/demo_0.9.tar.gz", has}, 200},
		{"/src/contrib/demo_0.8.tar.gz", []string{"/src/contrib/demo_0.8.tar.gz", "/src/contrib/Archive/demo/demo_0.8.tar.gz"}, 404},
		{"/src/contrib/Archive/demo/demo_0.8.tar.gz", []string{"/src/contrib/Archive/demo/demo_0.8.tar.gz"}, 404},
		{"/src/contrib/PACKAGES", []string{"/src/contrib/PACKAGES"}, 404},
	} {
		asked = nil
		req, err := parse(t, newHub(Options{}), test.target, nil)
		require.NoError(t, err)
		resp, err := gate.Get(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, test.asked, asked)
		assert.Equal(t, test.status, resp.Entry.Status)
		assert.Equal(t, req.Key, resp.Entry.Key)
	}
}

// FuzzReadIndex: an index of any bytes ends soon, and teaches of its directory alone.
func FuzzReadIndex(f *testing.F) {
	for _, file := range []string{"PACKAGES", "PACKAGES.rds", "v2.rds"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(f, err)
		f.Add(string(text))
		if plain, err := hub.Unpack(bytes.NewReader(text)); err == nil {
			text, err := io.ReadAll(plain)
			require.NoError(f, err)
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		taught, _ := read("/src/contrib/", text)
		for p := range taught {
			assert.True(t, strings.HasPrefix(p, "/src/contrib/"), p)
			assert.NotContains(t, p, "/../")
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/src/contrib/PACKAGES", "/src/contrib/a_1.tar.gz", "/bin/windows/x/a%5f1.zip", "/a%2fsrc/contrib/a_1.tar.gz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req, err := newHub(Options{}).Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		again, err := parse(t, newHub(Options{}), req.Key.Path, nil)
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
		assert.Equal(t, req.Policy, again.Policy)
	})
}
