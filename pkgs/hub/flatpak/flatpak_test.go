package flatpak

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/ini"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub() *Hub {
	return New(hub.Options{Name: "flatpak", Mirrors: []*url.URL{{Scheme: "https", Host: "mirror.example.org", Path: "/repo"}}}, hub.GenerationOptions{})
}

const (
	commit = "/objects/37/3ab400dcf7846951498adc4ff110bae2a8264b4bb6292d4877cb3d09ba60b6"
	full   = "/deltas/Nz/q0ANz3hGlRSYrcT_EQuuKoJktLtiktSHfLPQm6YLY/"
	step   = "/deltas/US/HclESGw2vCOwFonanTmLeGbypT89257o7HeFXllaU-Nzq0ANz3hGlRSYrcT_EQuuKoJktLtiktSHfLPQm6YLY/"
	list   = "/delta-indexes/Nz/q0ANz3hGlRSYrcT_EQuuKoJktLtiktSHfLPQm6YLY.index"
)

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/summary"},
		hubtest.Sample{Target: "/summary.sig"},
		hubtest.Sample{Target: commit + ".commit"},
		hubtest.Sample{Target: commit + ".filez"},
		hubtest.Sample{Target: "/deltas/a+/b_c-d%2Be/superblock"},
		hubtest.Sample{Target: "/demo.flatpakrepo"},
	)
}

func TestParse(t *testing.T) {
	name := strings.Repeat("0a", 32)
	object := "/objects/0a/" + strings.Repeat("0a", 31)
	for _, test := range []struct{ path, digest string }{
		{"/summary", ""}, {"/summary.sig", ""}, {"/summary.idx", ""}, {"/summary.idx.sig", ""},
		{"/summaries/" + name + ".gz", "gunzip:" + name},
		{"/summaries/" + name + "-" + name + ".delta", ""},
		{"/summaries/" + name + ".idx.sig", ""},
		{"/config", ""}, {"/refs/heads/app/demo/x86_64/stable", ""}, {"/demo.flatpakrepo", ""}, {"/appstream/demo.flatpakref", ""},
		{object + ".commit", "sha256:" + name}, {object + ".dirtree", "sha256:" + name}, {object + ".dirmeta", "sha256:" + name},
		{object + ".filez", "ostree:" + name}, {object + ".commitmeta", ""},
		{step + "superblock", ""}, {step + "0", ""}, {list, ""},
	} {
		t.Run(test.path, func(t *testing.T) {
			req, err := newHub().Parse(&http.Request{URL: &url.URL{Path: test.path, RawQuery: "x=1"}})
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "flatpak", Path: test.path}, req.Key)
			assert.Equal(t, exchange.Digest(test.digest), req.Digest)
			assert.Equal(t, test.digest != "", req.Policy.Class == freshness.Immutable)
		})
	}
	for _, path := range []string{
		"/", "/index.html", "/summary.asc", "/summaries/", "/objects/0a/" + name + ".commit", object, object + ".file", object + ".commit.x",
		strings.ToUpper(object) + ".commit", "/objects/0a/0a/" + strings.Repeat("0a", 30) + ".commit", "/objects/0a0/" + strings.Repeat("0a", 31) + ".commit",
		"/refs/heads/", "/deltas/", "/tmp/x", "/.lock", "/demo.flatpakrepo/x", "/_f/x/y",
	} {
		_, err := newHub().Parse(&http.Request{URL: &url.URL{Path: path}})
		assert.Error(t, err, path)
	}
}

// recorded is a file of a repository that ostree 2022.7 has made.
func recorded(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/repo" + path)
	require.NoError(t, err)
	return b
}

func digestOf(b []byte) exchange.Digest {
	h := exchange.Digest("sha256:").New()
	h.Write(b)
	return exchange.NewDigest("sha256", h.Sum(nil))
}

// TestRecorded: what lists of a real repository teach is what is in it.
func TestRecorded(t *testing.T) {
	root, err := readRoot(summaryPath, bytes.NewReader(recorded(t, "/summary")))
	require.NoError(t, err)
	assert.Greater(t, root.Order, int64(1_700_000_000))
	want := map[string]exchange.Fact{
		full + "superblock": {Digest: digestOf(recorded(t, full+"superblock"))},
		step + "superblock": {Digest: digestOf(recorded(t, step+"superblock"))},
	}
	assert.Equal(t, want, root.Members)

	got := map[string]exchange.Fact{}
	teach := func(p string, f exchange.Fact) { got[p] = f }
	require.NoError(t, readList(list, bytes.NewReader(recorded(t, list)), teach))
	assert.Equal(t, want, got)
	assert.Equal(t, list, indexOf(full+"superblock"))
	assert.Equal(t, list, indexOf(step+"superblock"))
	assert.Empty(t, indexOf("/deltas/x/superblock"))

	for _, delta := range []string{full, step} {
		clear(got)
		require.NoError(t, readList(delta+"superblock", bytes.NewReader(recorded(t, delta+"superblock")), teach))
		assert.Equal(t, map[string]exchange.Fact{delta + "0": {Digest: digestOf(recorded(t, delta+"0"))}}, got)
	}
}

// TestRecordedObjects: every object of a real repository is proved by its name.
func TestRecordedObjects(t *testing.T) {
	files := 0
	err := filepath.WalkDir("testdata/repo/objects", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path := strings.TrimPrefix(name, "testdata/repo")
		req, err := newHub().Parse(&http.Request{URL: &url.URL{Path: path}})
		require.NoError(t, err)
		content := recorded(t, path)
		if req.Digest.Algorithm() == "sha256" {
			assert.Equal(t, req.Digest, digestOf(content))
			return nil
		}
		files++
		assert.Equal(t, req.Digest, hashed(File, content, 7))
		assert.NotEqual(t, req.Digest, hashed(File, content[:len(content)-1], 7), "cut")
		assert.NotEqual(t, req.Digest, hashed(File, append(content, 'x'), 7), "more")
		for i := range content[:len(content)-1] { // of the last byte some bits may mean nothing
			wrong := bytes.Clone(content)
			wrong[i] ^= 4
			assert.NotEqual(t, req.Digest, hashed(File, wrong, 100), "%s: byte %d", name, i)
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 4, files)
}

func TestEdit(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"repository", "[Flatpak Repo]\nTitle=Demo\nUrl=https://mirror.example.org/repo/\nHomepage=https://mirror.example.org/repo/\n",
			"[Flatpak Repo]\nTitle=Demo\nUrl=http://proxy/fp/\nHomepage=https://mirror.example.org/repo/\n"},
		{"without a slash", "[Flatpak Repo]\nUrl = http://MIRROR.example.org/repo", "[Flatpak Repo]\nUrl =http://proxy/fp/\n"},
		{"application", "# x\n[Flatpak Ref]\nRuntimeRepo=https://mirror.example.org/repo/demo.flatpakrepo\nUrl=https://mirror.example.org/repo\n",
			"# x\n[Flatpak Ref]\nRuntimeRepo=http://proxy/fp/demo.flatpakrepo\nUrl=http://proxy/fp/\n"},
		{"elsewhere", "[Flatpak Repo]\nUrl=https://elsewhere.example/repo/\nUrl=https://mirror.example.org/repository/\n",
			"[Flatpak Repo]\nUrl=https://elsewhere.example/repo/\nUrl=https://mirror.example.org/repository/\n"},
		{"page", "<html>log in</html>", ""},
		{"long", "[Flatpak Repo]\n" + strings.Repeat("x", ini.MaxLine+1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			err := newHub().edit("http://proxy/fp")(&b, strings.NewReader(test.text))
			if test.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, b.String())
		})
	}
}

func FuzzReadRoot(f *testing.F) {
	f.Add(recorded(f, "/summary"))
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []string{summaryPath, indexPath} {
			root, err := readRoot(p, bytes.NewReader(b))
			if err == nil {
				for member := range root.Members {
					assert.NotEmpty(t, indexOf(member), member)
				}
			}
		}
	})
}

func FuzzReadList(f *testing.F) {
	f.Add(recorded(f, step+"superblock"))
	f.Add(recorded(f, list))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []string{step + "superblock", list} {
			_ = readList(p, bytes.NewReader(b), func(p string, f exchange.Fact) {
				assert.True(t, strings.HasPrefix(p, "/deltas/"), p)
				assert.Len(t, f.Digest.Hex(), 64)
			})
		}
	})
}

func FuzzEdit(f *testing.F) {
	f.Add("[Flatpak Repo]\nUrl=https://mirror.example.org/repo/\n")
	h := newHub()
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		if h.edit("http://proxy/fp")(&b, strings.NewReader(text)) == nil {
			assert.Equal(t, strings.Count(strings.TrimSuffix(text, "\n")+"\n", "\n"), strings.Count(b.String(), "\n"))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/summary", commit + ".filez", step + "superblock", "/x.flatpakref"} {
		f.Add(seed)
	}
	h := newHub()
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		req, err := h.Parse(&http.Request{URL: u})
		if err != nil {
			return
		}
		again, err := url.ParseRequestURI(req.Key.Path)
		require.NoError(t, err)
		same, err := h.Parse(&http.Request{URL: again})
		require.NoError(t, err)
		assert.Equal(t, req.Key, same.Key)
	})
}
