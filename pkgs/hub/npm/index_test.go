package npm

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// serve is a Source of one document, whatever it is asked.
func serve(text string) exchange.Source {
	return exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: int64(len(text)), Mirror: "https://registry.example.org", Received: time.Now()},
			Body:  io.NopCloser(strings.NewReader(text)),
		}, nil
	})
}

func ask(t testing.TB, h *Hub, path string, next exchange.Source) (*exchange.Response, string, error) {
	t.Helper()
	req, err := h.Parse(httptest.NewRequest(http.MethodGet, path, nil))
	require.NoError(t, err)
	req.Client.Base = "http://proxy:8881/npm"
	resp, err := h.Rewrite(next).Get(t.Context(), req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

const zeros = "MDAwMDAwMDAwMDAwMDAwMDAwMDA=" // 20 bytes

func TestRewrite(t *testing.T) {
	tests := []struct{ name, path, in, want string }{
		{"below a mirror", "/demo", `"https://registry.example.org/demo/-/demo-1.0.0.tgz"`, `"http://proxy:8881/npm/demo/-/demo-1.0.0.tgz"`},
		{"the other mirror", "/demo", `"http://mirror.example.org/npm/x/odd name.tgz"`, `"http://proxy:8881/npm/x/odd%20name.tgz"`},
		{"the other scheme", "/demo", `"http://registry.example.org/demo/-/x.tgz"`, `"http://proxy:8881/npm/demo/-/x.tgz"`},
		{"second host", "/demo", `"https://files.example.org/t/1/x.tgz"`, `"http://proxy:8881/npm/_f/f/1/x.tgz"`},
		{"escaped slashes", "/demo", `"https:\/\/registry.example.org\/demo\/-\/x.tgz"`, `"http://proxy:8881/npm/demo/-/x.tgz"`},
		{"with a query", "/demo", `"https://registry.example.org/d.tgz?a=1&b=2"`, `"http://proxy:8881/npm/d.tgz?a=1&b=2"`},
		{"elsewhere (B7)", "/demo", `"https://decoy.example.com/demo/-/demo-1.0.0.tgz"`, ""},
		{"the mirror as a password (B7)", "/demo", `"https://registry.example.org@decoy.example.com/x.tgz"`, ""},
		{"a local file", "/demo", `"file:///etc/passwd"`, ""},
		{"no string", "/demo", `{"tarball":"https://registry.example.org/x.tgz"}`, ""},
		{"null", "/demo", `null`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.in
			}
			for _, form := range []string{
				"{ \"_rev\": \"1\", \"versions\": {\"1.0.0\" : {\"dist\":{ \"tarball\" : %s, \"shasum\":\"x\"}}, \"2\":{}}, \"n\": 1.0e400,\n \"readme\":\"https://registry.example.org/x.tgz\"}\n",
				`{"dist":{"tarball":%s},"x":{"dist":{"tarball":"https://registry.example.org/x.tgz"}}}`,
				`{"\u0076ersions":{"1":{"d\u0069st":{"tarb\u0061ll":%s}}}}`,
			} {
				resp, got, err := ask(t, newHub(t), tt.path, serve(fmt.Sprintf(form, tt.in)))
				require.NoError(t, err)
				assert.Equal(t, fmt.Sprintf(form, tt.want), got)
				assert.Equal(t, "Accept", resp.Entry.Header.Get("Vary"))
				assert.EqualValues(t, len(got), resp.Entry.Size)
			}
		})
	}
}

// Names that only differ by an escape, and clients of another base, do not mix.
func TestBases(t *testing.T) {
	h := newHub(t)
	req, err := h.Parse(httptest.NewRequest(http.MethodGet, "/demo", nil))
	require.NoError(t, err)
	text := `{"dist":{"tarball":"https://registry.example.org/x.tgz"}}`
	etags := map[string]bool{}
	for _, base := range []string{"http://a/npm", "http://b/npm", ""} {
		req.Client.Base = base
		resp, err := h.Rewrite(serve(text)).Get(t.Context(), req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, base != "", strings.Contains(string(body), `"`+base+`/x.tgz"`))
		etags[resp.Entry.Header.Get("Etag")] = true
	}
	assert.Len(t, etags, 3)
}

// Bombs end in 502, and never pass as they are (B28).
func TestBombs(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":        "<html>maintenance</html>",
		"cut":            `{"versions":{"1.0.0":{"dist":{"tarball":"https://registry.example.org/x`,
		"deep":           `{"versions":` + strings.Repeat(`[`, 1_000_000),
		"deep objects":   strings.Repeat(`{"a":`, 500_000),
		"a huge name":    `{"` + strings.Repeat("a", 4<<20) + `":1}`,
		"a huge tarball": `{"dist":{"tarball":"` + strings.Repeat("a", 4<<20) + `"}}`,
		"two documents":  `{}{"dist":{"tarball":"https://registry.example.org/x.tgz"}}`,
		"empty":          "",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := ask(t, newHub(t), "/demo", serve(text))
			var e *exchange.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, http.StatusBadGateway, e.Status)
		})
	}
}

func TestOtherAnswersPass(t *testing.T) {
	text := `{"dist":{"tarball":"https://registry.example.org/x.tgz"}}`
	for _, path := range []string{"/demo/-/demo-1.0.0.tgz", "/-/ping", "/-/v1/search?text=a", "/_f/f/a.tgz"} {
		_, got, err := ask(t, newHub(t), path, serve(text))
		require.NoError(t, err)
		assert.Equal(t, text, got, path)
	}
	resp, got, err := ask(t, newHub(t), "/demo", exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{Entry: &exchange.Entry{Status: 404, Size: 2}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}))
	require.NoError(t, err)
	assert.Equal(t, 404, resp.Entry.Status)
	assert.Equal(t, "{}", got)
	assert.Equal(t, "Accept", resp.Entry.Header.Get("Vary"), "a 404 is of a variant too")
}

func TestLearn(t *testing.T) {
	sum := sha512.Sum512([]byte("x"))
	sri := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	sha1 := strings.Repeat("0a", 20)
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
	require.NoError(t, err)
	defer l.Close()
	h := newHub(t)
	h.hub.Ledger = l
	version := func(n, link, more string) string {
		return fmt.Sprintf(`"%s":{"dist":{"tarball":"%s"%s}}`, n, link, more)
	}
	text := `{"versions":{` + strings.Join([]string{
		version("1", "https://registry.example.org/@sc%2fdemo/-/demo-1.tgz", `,"shasum":"`+sha1+`","integrity":"sha1-`+zeros+` `+sri+`?opt"`),
		version("2", "https://files.example.org/t/demo-2.tgz", `,"shasum":"`+strings.ToUpper(sha1)+`"`),
		version("3", "https://registry.example.org/@sc/demo/-/demo-3.tgz", `,"integrity":"sha512-short"`),
		version("4", "https://decoy.example.com/@sc/demo/-/demo-4.tgz", `,"integrity":"`+sri+`"`),
		version("5", "https://registry.example.org/@sc/demo/-/demo-5.tgz", ""),
	}, ",") + `},"dist":{"integrity":"` + sri + `"}}`
	gets := 0
	_, _, err = ask(t, h, "/@sc%2fdemo", exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		gets++
		return serve(text).Get(ctx, req)
	}))
	require.NoError(t, err)
	fact := func(path string) exchange.Digest {
		f, _ := l.Lookup(t.Context(), exchange.Key{Hub: "npm", Path: path})
		return f.Digest
	}
	assert.Equal(t, exchange.NewDigest("sha512", sum[:]), fact("/@sc/demo/-/demo-1.tgz"))
	assert.Equal(t, exchange.Digest("sha1:"+sha1), fact("/_f/f/demo-2.tgz"))
	for _, n := range []string{"3", "4", "5"} {
		assert.Empty(t, fact("/@sc/demo/-/demo-"+n+".tgz"))
	}
	require.NoError(t, l.Close()) // waits for all that reads
	assert.Equal(t, 1, gets, "it is learned while it is edited")
}

// An index that need not be edited since that is kept, or whose edit is given up,
// is learned by reading it.
func TestLearnBehind(t *testing.T) {
	sum := exchange.Digest("sha256:" + strings.Repeat("0a", 32))
	text := `{"versions":{"1":{"dist":{"tarball":"https://registry.example.org/demo/-/demo-1.tgz","shasum":"` + strings.Repeat("0a", 20) + `"}}},"readme":"`
	for name, digest := range map[string]exchange.Digest{"kept": sum, "given up": ""} {
		t.Run(name, func(t *testing.T) {
			l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
			require.NoError(t, err)
			defer l.Close()
			h := newHub(t)
			h.hub.Ledger = l
			h.hub.Cache = func(exchange.Source) exchange.Source { return serve("{}") }
			req, err := h.Parse(httptest.NewRequest(http.MethodGet, "/demo", nil))
			require.NoError(t, err)
			resp, err := h.Rewrite(exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				resp, err := serve(text+strings.Repeat("x", 4<<20)+`"}`).Get(ctx, req)
				resp.Entry.Digest = digest
				return resp, err
			})).Get(t.Context(), req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close()) // with most of it not read
			f, _ := l.Lookup(t.Context(), exchange.Key{Hub: "npm", Path: "/demo/-/demo-1.tgz"})
			assert.Equal(t, exchange.Digest("sha1:"+strings.Repeat("0a", 20)), f.Digest)
		})
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"versions":{"1":{"dist":{"tarball":"https://registry.example.org/x.tgz","integrity":"sha512-AA== sha1-x","shasum":"0a"}}}}`))
	f.Add([]byte(`{"dist":{"tarball":"a","tarball":[]}}`))
	h := newHub(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		err := h.copy(&out, bytes.NewReader(in), hub.NewCopy(h.links, "http://proxy/npm", nil, nil))
		var both bytes.Buffer
		alone, beside := map[string]exchange.Fact{}, map[string]exchange.Fact{}
		learned := h.copy(io.Discard, bytes.NewReader(in), hub.NewCopy(h.links, "", nil, func(path string, f exchange.Fact) { alone[path] = f }))
		edited := h.copy(&both, bytes.NewReader(in), hub.NewCopy(h.links, "http://proxy/npm", nil, func(path string, f exchange.Fact) { beside[path] = f }))
		if err == nil && edited == nil { // who learns looks into more of it, and finds more faults
			require.Equal(t, out.Bytes(), both.Bytes(), "who learns changes nothing")
		}
		require.Equal(t, learned, edited)
		require.Equal(t, alone, beside)
		if json.Valid(in) && !bytes.Contains(in, []byte(strings.Repeat("[", 100))) && !bytes.Contains(in, []byte(strings.Repeat("{", 100))) {
			require.NoError(t, err)
			require.NoError(t, learned)
			require.True(t, json.Valid(out.Bytes()))
		}
	})
}

const wanted = 40 << 20 // bytes of a large packument

// A demo reads as a packument of about size bytes, which is made on the way.
type demo struct {
	size, read, n int
	next          bytes.Buffer
}

func (d *demo) Read(p []byte) (int, error) {
	for d.next.Len() < len(p) && d.n >= 0 {
		switch {
		case d.n == 0:
			d.next.WriteString(`{"_id":"demo","_rev":"1-abc","name":"demo","dist-tags":{"latest":"1.0.0"},"versions":{`)
		case d.read > d.size:
			d.next.WriteString(`"last":{}},"time":{"modified":"2024-01-01T00:00:00.000Z"}}`)
			d.n = -2
		}
		if d.n++; d.n > 0 {
			putVersion(&d.next, d.n)
		}
	}
	n, err := d.next.Read(p)
	d.read += n
	return n, err
}

func putVersion(b *bytes.Buffer, n int) {
	fmt.Fprintf(b, `"1.0.%[1]d":{"name":"demo","version":"1.0.%[1]d","description":"what it is for","main":"index.js","scripts":{"test":"node --test"},`+
		`"repository":{"type":"git","url":"git+https://example.org/demo/demo.git"},"keywords":["a","b","c"],"author":{"name":"A. Uthor"},"license":"MIT",`+
		`"dependencies":{"left":"^1.0.0","right":"^2.3.4","up":"~0.1.2"},"devDependencies":{"x":"1","y":"2","z":"3"},"gitHead":"%040[1]x","_id":"demo@1.0.%[1]d",`+
		`"_nodeVersion":"20.1.0","_npmVersion":"10.2.0","dist":{"integrity":"sha512-%086[1]d==","shasum":"%040[1]x","tarball":"https://registry.example.org/demo/-/demo-1.0.%[1]d.tgz",`+
		`"fileCount":12,"unpackedSize":12345,"signatures":[{"keyid":"SHA256:%043[1]d","sig":"%096[1]d"}]},"_npmUser":{"name":"a","email":"a@example.org"},`+
		`"maintainers":[{"name":"a","email":"a@example.org"},{"name":"b","email":"b@example.org"}],"_hasShrinkwrap":false},`, n)
}

// The demand of a packument of 40 MB: 100 ms beside the transfer.
func BenchmarkRewrite40MB(b *testing.B) {
	packument, err := io.ReadAll(&demo{size: wanted})
	require.NoError(b, err)
	require.True(b, json.Valid(packument))
	text := string(packument)
	h := newHub(b)
	req, err := h.Parse(httptest.NewRequest(http.MethodGet, "/demo", nil))
	require.NoError(b, err)
	req.Client.Base = "http://proxy:8881/npm"
	for _, bench := range []struct {
		name string
		get  exchange.Source
	}{
		{"untouched", serve(text)},
		{"rewritten", h.Rewrite(serve(text))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			buf := make([]byte, 64<<10)
			for b.Loop() {
				resp, err := bench.get.Get(b.Context(), req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buf); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
	b.Run("learned", func(b *testing.B) { // in the same pass
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if err := h.copy(io.Discard, strings.NewReader(text), hub.NewCopy(h.links, req.Client.Base, nil, func(string, exchange.Fact) {})); err != nil {
				b.Fatal(err)
			}
		}
	})
}
