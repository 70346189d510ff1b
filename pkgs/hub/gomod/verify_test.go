package gomod

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func spoolIn(t testing.TB) func() (*os.File, error) {
	dir := t.TempDir()
	return func() (*os.File, error) {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			return nil, err
		}
		return f, os.Remove(f.Name())
	}
}

// packed is a zip of these files, names and contents in turn.
func packed(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		require.NoError(t, err)
		_, err = io.WriteString(w, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.String()
}

const (
	version = "example.org/m@v1.0.0"
	goMod   = "module example.org/m\n"
	zipPath = "/example.org/m/@v/v1.0.0.zip"
	modPath = "/example.org/m/@v/v1.0.0.mod"
	lookup  = "/lookup/" + version
)

// record is the database's answer for these contents.
func record(t testing.TB, zipped string) string {
	t.Helper()
	h, err := hashZip(strings.NewReader(zipped), int64(len(zipped)), version)
	require.NoError(t, err)
	mod, err := hashMod(strings.NewReader(goMod), int64(len(goMod)))
	require.NoError(t, err)
	path, v, _ := strings.Cut(version, "@")
	text := fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", path, v, h, path, v, mod)
	msg, err := tlog.FormatRecord(7, []byte(text))
	require.NoError(t, err)
	return string(msg) + tree(8)
}

func tree(n int64) string {
	return string(tlog.FormatTree(tlog.Tree{N: n})) + "\n— sum.example.org AAAA\n"
}

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return string(b)
}

// The h1 is that of go: a value that cmd/go wrote into a go.sum.
func TestHashMod(t *testing.T) {
	text := "module github.com/davecgh/go-spew\n"
	got, err := hashMod(strings.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	assert.Equal(t, "h1:J7Y8YcW2NihsgmVo/mv3lAwl/skON4iLHjSsI+c5H38=", got)
}

func TestVerify(t *testing.T) {
	small := packed(t, version+"/go.mod", goMod, version+"/m.go", "package m\n")
	large := packed(t, version+"/go.mod", goMod, version+"/noise", noise(300<<10))
	corrupt := func(s string) string { // in the content of the first file; its name there counts for nobody
		b := []byte(s)
		b[60] ^= 1
		return string(b)
	}
	for _, size := range []struct{ name, zip string }{{"small", small}, {"large", large}} {
		good := size.zip
		t.Run(size.name, func(t *testing.T) {
			t.Run("good", func(t *testing.T) {
				w := newWorld(t, Options{Verify: true})
				w.content["http://a "+zipPath], w.content["http://a "+modPath], w.content[db+" "+lookup] = good, goMod, record(t, good)
				for range 2 {
					_, body, err := w.get(t, zipPath)
					require.NoError(t, err)
					assert.True(t, body == good)
				}
				_, body, err := w.get(t, modPath)
				require.NoError(t, err)
				assert.Equal(t, goMod, body)
				assert.Equal(t, []string{db + " " + lookup, "http://a " + zipPath, "http://a " + modPath}, w.asked, "the lookup first, and once")
			})
			t.Run("wrong at one mirror", func(t *testing.T) {
				w := newWorld(t, Options{Verify: true})
				w.content["http://a "+zipPath], w.content["http://b "+zipPath], w.content[db+" "+lookup] = corrupt(good), good, record(t, good)
				_, body, err := w.get(t, zipPath)
				if size.name == "large" { // a part of it was sent
					require.ErrorIs(t, err, errHash)
					_, body, err = w.get(t, zipPath)
				}
				require.NoError(t, err)
				assert.True(t, body == good)
			})
			t.Run("wrong at all mirrors", func(t *testing.T) {
				w := newWorld(t, Options{Verify: true})
				w.content["http://a "+zipPath], w.content["http://b "+zipPath], w.content[db+" "+lookup] = corrupt(good), corrupt(good), record(t, good)
				for range 3 {
					_, _, err := w.get(t, zipPath)
					require.Error(t, err)
				}
				assert.NotContains(t, w.cache.stored, exchange.Key{Hub: "go", Path: zipPath})
			})
			t.Run("wrong, and nobody has asked", func(t *testing.T) {
				w := newWorld(t, Options{})
				w.content["http://a "+zipPath], w.content[db+" "+lookup] = corrupt(good), record(t, good)
				_, body, err := w.get(t, zipPath)
				require.NoError(t, err)
				assert.True(t, body == corrupt(good), "go will see it")
			})
			t.Run("wrong, and a client has asked", func(t *testing.T) {
				w := newWorld(t, Options{})
				w.content["http://a "+zipPath], w.content[db+" "+lookup] = corrupt(good), record(t, good)
				_, _, err := w.get(t, "/sumdb/"+db+lookup)
				require.NoError(t, err)
				_, _, err = w.get(t, zipPath)
				require.Error(t, err)
			})
		})
	}
}

func TestVerifyWithout(t *testing.T) {
	good := packed(t, version+"/go.mod", goMod)
	status := func(err error) int {
		var stated *exchange.Error
		if errors.As(err, &stated) {
			return stated.Status
		}
		return 0
	}
	t.Run("the database does not know it", func(t *testing.T) {
		w := newWorld(t, Options{Verify: true})
		w.content["http://a "+zipPath] = good
		_, _, err := w.get(t, zipPath)
		assert.Equal(t, http.StatusNotFound, status(err))
		assert.Empty(t, w.asked)
	})
	t.Run("the database talks nonsense", func(t *testing.T) {
		w := newWorld(t, Options{Verify: true})
		w.content["http://a "+zipPath], w.content[db+" "+lookup] = good, "<html>please log in</html>"
		_, _, err := w.get(t, zipPath)
		assert.Equal(t, http.StatusBadGateway, status(err), "never a 404: go would leave for another proxy")
		assert.Empty(t, w.cache.stored)
	})
	t.Run("no temporary file", func(t *testing.T) {
		large := packed(t, version+"/noise", noise(100<<10))
		w := newWorld(t, Options{Verify: true})
		w.hub.hub.Spool = nil
		w.content["http://a "+zipPath], w.content[db+" "+lookup] = large, record(t, large)
		_, _, err := w.get(t, zipPath)
		assert.Equal(t, http.StatusBadGateway, status(err))
		w.hub.opts.Verify = false
		_, _, err = w.get(t, zipPath)
		assert.NoError(t, err, "the disk is optional")
	})
	t.Run("the temporary file is full", func(t *testing.T) {
		large := packed(t, version+"/noise", noise(300<<10))
		w := newWorld(t, Options{Verify: true})
		w.hub.hub.Spool = func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }
		w.content["http://a "+zipPath], w.content[db+" "+lookup] = large, record(t, large)
		_, _, err := w.get(t, zipPath)
		assert.Error(t, err)
		w.hub.opts.Verify = false
		_, body, err := w.get(t, zipPath)
		require.NoError(t, err)
		assert.True(t, body == large)
	})
}

// A proof that can be read to its end is of content that was checked, however it is read.
func TestProof(t *testing.T) {
	content := noise(200 << 10)
	read := func(size int64, check error) (string, error) {
		f, err := spoolIn(t)()
		require.NoError(t, err)
		p := &proof{src: io.NopCloser(strings.NewReader(content)), size: size, kept: f, check: func(r io.ReaderAt, n int64) error {
			b, err := io.ReadAll(io.NewSectionReader(r, 0, n))
			require.NoError(t, err)
			assert.True(t, string(b) == content)
			return check
		}}
		defer p.Close()
		require.NoError(t, p.begin())
		var b strings.Builder
		_, err = io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{p}, make([]byte, 777))
		return b.String(), err
	}
	got, err := read(-1, nil)
	require.NoError(t, err)
	assert.True(t, got == content)
	got, err = read(-1, errHash)
	require.ErrorIs(t, err, errHash)
	assert.Equal(t, len(content)-hold, len(got))
	_, err = read(int64(len(content))+1, nil)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// B29: a zip is only listed, and a listing that leads out of the module is refused.
func TestHashZipRefuses(t *testing.T) {
	link := func() string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: version + "/link"}
		h.SetMode(fs.ModeSymlink | 0o777)
		w, err := z.CreateHeader(h)
		require.NoError(t, err)
		_, _ = io.WriteString(w, "/etc/passwd")
		require.NoError(t, z.Close())
		return b.String()
	}
	for name, content := range map[string]string{
		"dot dot":       packed(t, version+"/../../evil", "x"),
		"at once":       packed(t, "../evil", "x"),
		"absolute":      packed(t, "/etc/passwd", "x"),
		"backslash":     packed(t, version+`/..\evil`, "x"),
		"other module":  packed(t, "example.org/n@v1.0.0/a", "x"),
		"other version": packed(t, "example.org/m@v1.0.00/a", "x"),
		"empty element": packed(t, version+"//a", "x"),
		"nothing":       packed(t, version+"/", ""),
		"twice":         packed(t, version+"/a", "x", version+"/a", "y"),
		"link":          link(),
		"no zip":        "<html></html>",
		"half a zip":    packed(t, version+"/a", "x")[:40],
		"bomb":          claiming(t, 501<<20),
		"two of half":   claiming(t, 300<<20, 300<<20),
		"overflow":      claiming(t, 1<<40, -1<<40),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hashZip(strings.NewReader(content), int64(len(content)), version)
			assert.Error(t, err)
		})
	}
}

// claiming is a zip of files that claim these sizes.
func claiming(t testing.TB, sizes ...int64) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, size := range sizes {
		_, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("%s/%d", version, i), UncompressedSize64: uint64(size)})
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.String()
}

func TestDatabase(t *testing.T) {
	latest := "/sumdb/" + db + "/latest"
	t.Run("supported, without a database", func(t *testing.T) {
		w := newWorld(t, Options{})
		status, body, err := w.get(t, "/sumdb/"+db+"/supported")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.NotEmpty(t, body)
		assert.Empty(t, w.asked)
	})
	t.Run("the tree never shrinks", func(t *testing.T) {
		w := newWorld(t, Options{})
		for _, n := range []int64{5, 9, 9} {
			w.content[db+" /latest"] = tree(n)
			_, body, err := w.get(t, latest)
			require.NoError(t, err)
			assert.Equal(t, tree(n), body)
		}
		w.content[db+" /latest"] = tree(8)
		_, _, err := w.get(t, latest)
		require.Error(t, err)

		again := newWorld(t, Options{})
		again.cache.stored = w.cache.stored
		again.hub.hub.Cache = again.cache.wrap
		again.content = w.content
		_, _, err = again.get(t, latest)
		require.Error(t, err, "nor after a restart")
	})
	t.Run("what is no tree", func(t *testing.T) {
		w := newWorld(t, Options{})
		for _, text := range []string{"", "<html>", "go.sum database tree\n-1\n", strings.Repeat("x", 70<<10)} {
			w.content[db+" /latest"] = text
			_, _, err := w.get(t, latest)
			assert.Error(t, err)
		}
		assert.Empty(t, w.cache.stored)
	})
	t.Run("what is no lookup", func(t *testing.T) {
		w := newWorld(t, Options{})
		w.content[db+" "+lookup] = strings.ReplaceAll(record(t, packed(t, version+"/a", "")), "/m ", "/n ")
		_, _, err := w.get(t, "/sumdb/"+db+lookup)
		assert.Error(t, err)
		assert.Empty(t, w.cache.stored)
	})
	t.Run("a lookup of nothing", func(t *testing.T) {
		w := newWorld(t, Options{})
		status, body, err := w.get(t, "/sumdb/"+db+lookup)
		require.NoError(t, err)
		assert.Equal(t, 404, status)
		assert.Equal(t, "gone\n", body)
	})
}

func FuzzHashes(f *testing.F) {
	f.Add([]byte(record(f, packed(f, version+"/a", ""))))
	f.Add([]byte("1\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := hashes(text, "example.org/m", "v1.0.0")
		assert.Equal(t, err == nil, h.zip != "" || h.mod != "")
	})
}

func FuzzHashZip(f *testing.F) {
	f.Add([]byte(packed(f, version+"/a", "x", version+"/b/c", "y")))
	f.Add([]byte(packed(f, "../a", "x")))
	f.Fuzz(func(t *testing.T, content []byte) {
		h, err := hashZip(bytes.NewReader(content), int64(len(content)), version)
		assert.Equal(t, err == nil, strings.HasPrefix(h, "h1:"))
	})
}
