package pypi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// serve is a Source of one document of a mirror, whatever it is asked.
func serve(mirror, text string) exchange.Source {
	return exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{
			Entry: &exchange.Entry{Status: 200, Size: int64(len(text)), Mirror: mirror, Received: time.Now()},
			Body:  io.NopCloser(strings.NewReader(text)),
		}, nil
	})
}

const mirror = "https://index.example.org"

func ask(t testing.TB, h *Hub, path, accept string, next exchange.Source) (*exchange.Response, string, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	req, err := h.Parse(r)
	require.NoError(t, err)
	req.Client.Base = "http://proxy:8881/pypi"
	resp, err := h.Rewrite(next).Get(t.Context(), req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// Links, in HTML and in JSON. "" is: as it was.
var links = []struct{ name, mirror, in, want string }{
	{"second host", mirror, "https://files.example.org/packages/ab/demo-1.0.whl#sha256=00ff", "../../_f/f/ab/demo-1.0.whl#sha256=00ff"},
	{"the other scheme", mirror, "http://files.example.org/packages/ab/demo-1.0.whl", "../../_f/f/ab/demo-1.0.whl"},
	{"beside the second host's base", mirror, "https://files.example.org/other/demo-1.0.whl", ""},
	{"below a mirror", mirror, "https://index.example.org/packages/demo-1.0.whl#egg=x", "../../packages/demo-1.0.whl#egg=x"},
	{"below the other mirror", mirror, "https://mirror.example.org/pypi/web/packages/demo%2B1.whl", "../../packages/demo%2B1.whl"},
	{"host-relative", "https://mirror.example.org/pypi/web", "/pypi/web/packages/demo-1.0.whl#sha256=00", "../../packages/demo-1.0.whl#sha256=00"},
	{"relative", "https://mirror.example.org/pypi/web", "../../packages/ab/demo-1.0.whl#sha256=00", ""},
	{"relative, of an unknown mirror", "", "../../packages/ab/demo-1.0.whl#sha256=00", ""},
	{"in the directory", mirror, "demo-1.0.whl", ""},
	{"relative by another way", mirror, "../demo/./demo%2B1.whl", "../../simple/demo/demo%2B1.whl"},
	{"relative, out of the mirror", "https://mirror.example.org/pypi/web", "../../../packages/demo-1.0.whl#sha256=00", "https://mirror.example.org/pypi/packages/demo-1.0.whl#sha256=00"},
	{"host-relative, out of the mirror", "https://mirror.example.org/pypi/web", "/packages/demo-1.0.whl", "https://mirror.example.org/packages/demo-1.0.whl"},
	{"elsewhere (B7)", mirror, "https://decoy.example.com/packages/demo-1.0.whl#sha256=00", ""},
	{"the mirror as a password (B7)", mirror, "https://files.example.org@decoy.example.com/packages/x.whl", ""},
	{"with a query", mirror, "https://files.example.org/packages/x.whl?a=1&b=2#sha256=00", "../../_f/f/x.whl?a=1&b=2#sha256=00"},
	{"a fragment alone", mirror, "#top", ""},
	{"another scheme", mirror, "mailto:a@example.org", ""},
	{"dots", mirror, "https://files.example.org/packages/../secret/x.whl", "https://files.example.org/packages/../secret/x.whl"},
}

func TestHTML(t *testing.T) {
	const form = "<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.1\"><title>Links</title></head><body>\n" +
		"<a href=\"%s\" data-requires-python=\"&gt;=3.7\" data-core-metadata=\"sha256=00\" data-yanked=\"a &quot;b&quot;\" data-provenance=\"https://decoy.example.com/p\">demo</a><br/>\n" +
		"<!-- <a href=\"https://index.example.org/x\"> --></body></html>\n<!--SERIAL 1-->"
	for _, tt := range links {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.in
			}
			escape := strings.NewReplacer("&", "&amp;")
			resp, got, err := ask(t, newHub(t), "/simple/demo/", "text/html", serve(tt.mirror, fmt.Sprintf(form, escape.Replace(tt.in))))
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintf(form, escape.Replace(tt.want)), got)
			assert.Equal(t, "Accept", resp.Entry.Header.Get("Vary"))
		})
	}
}

func TestJSON(t *testing.T) {
	const form = "{\"meta\": {\"api-version\": \"1.4\", \"_last-serial\": 12345678901234567890, \"tracks\": [\"https://index.example.org/simple/demo/\"]},\n" +
		"\"alternate-locations\": [\"https://index.example.org/simple/demo/\"], \"versions\": [\"1.0\"], \"files\": [{\"url\" : \"%s\", \"yanked\": \"why\", \"size\": 1, " +
		"\"provenance\": \"https://decoy.example.com/p\", \"upload-time\": \"2024\"}, {\"provenance\":null}], \"x\": {\"files\": [{\"url\": \"https://index.example.org/x\"}]}}"
	for _, tt := range links {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.in
			}
			_, got, err := ask(t, newHub(t), "/simple/demo/", pipAccepts, serve(tt.mirror, fmt.Sprintf(form, tt.in)))
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintf(form, tt.want), got)
		})
	}
}

func TestBase(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"of the second host", `<base href="https://files.example.org/packages/"><a href="ab/x.whl#sha256=0">`, `<a href="../../_f/f/ab/x.whl#sha256=0">`},
		{"relative", `<base href="../../packages/"><a href="x.whl"><a href="../y.whl">`, `<a href="../../packages/x.whl"><a href="../../y.whl">`},
		{"elsewhere", `<base href="https://decoy.example.com/"><a href="x.whl"><a href="../../packages/y.whl">`,
			`<a href="https://decoy.example.com/x.whl"><a href="https://decoy.example.com/packages/y.whl">`},
		{"the first counts", `<base target=x><base href="https://files.example.org/packages/"><base href="https://decoy.example.com/"><a href="x.whl">`,
			`<base target=x><a href="../../_f/f/x.whl">`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := ask(t, newHub(t), "/simple/demo/", "", serve(mirror, tt.in))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestListing(t *testing.T) {
	_, got, err := ask(t, newHub(t), "/simple/", "", serve("https://mirror.example.org/pypi/web", `<a href="/pypi/web/simple/a/">a</a><a href="b/">b</a><a href="/simple/c/">c</a>`))
	require.NoError(t, err)
	assert.Equal(t, `<a href="../simple/a/">a</a><a href="b/">b</a><a href="https://mirror.example.org/simple/c/">c</a>`, got)
}

// The JSON API's clients resolve nothing.
func TestDocument(t *testing.T) {
	const form = `{"info":{"home_page":"https://index.example.org/"},"releases":{"1.0":[{"url":"%s"}]},"urls":[{"url":"%s"}]}`
	in := "https://files.example.org/packages/ab/x.whl"
	_, got, err := ask(t, newHub(t), "/pypi/demo/json", "", serve(mirror, fmt.Sprintf(form, in, in)))
	require.NoError(t, err)
	want := "http://proxy:8881/pypi/_f/f/ab/x.whl"
	assert.Equal(t, fmt.Sprintf(form, want, want), got)
}

func TestSlash(t *testing.T) {
	for path, want := range map[string]string{"/simple": "simple/", "/simple/De_mo": "de-mo/"} {
		resp, body, err := ask(t, newHub(t), path, "", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusMovedPermanently, resp.Entry.Status)
		assert.Equal(t, want, resp.Entry.Header.Get("Location"))
		assert.Len(t, body, int(resp.Entry.Size))
	}
}

// Bombs end in 502, and never pass as they are (B28).
func TestBombs(t *testing.T) {
	for name, text := range map[string]string{
		"cut JSON":              `{"files":[{"url":"https://index.example.org/x`,
		"deep JSON":             `{"files":` + strings.Repeat("[", 1_000_000),
		"a huge link in JSON":   `{"files":[{"url":"` + strings.Repeat("a", 4<<20) + `"}]}`,
		"no end of a tag":       `<a href="` + strings.Repeat("a", 4<<20),
		"no end of a comment":   "<!--" + strings.Repeat("-", 900<<10),
		"attributes":            "<a" + strings.Repeat(" a=b", 100_000) + ">",
		"cut HTML":              `<a href="https://index.example.org/x`,
		"JSON with HTML behind": `{} <a href="https://index.example.org/x">`,
	} {
		for _, accept := range []string{"text/html", pipAccepts} {
			t.Run(name+" for "+accept[:4], func(t *testing.T) {
				_, _, err := ask(t, newHub(t), "/simple/demo/", accept, serve(mirror, text))
				var e *exchange.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, http.StatusBadGateway, e.Status)
			})
		}
	}
}

// A mirror that has no JSON, and will not answer for HTML when asked for both.
func TestNotAcceptable(t *testing.T) {
	asked := 0
	next := exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if asked++; req.Key.Variant == asJSON {
			return nil, &exchange.Error{Status: http.StatusBadGateway}
		}
		assert.Equal(t, http.Header{"Accept": {"text/html"}}, req.Header)
		return serve(mirror, "<a>").Get(ctx, req)
	})
	_, got, err := ask(t, newHub(t), "/simple/demo/", pipAccepts, next)
	require.NoError(t, err)
	assert.Equal(t, "<a>", got)
	assert.Equal(t, 2, asked)
}

func TestFilesPass(t *testing.T) {
	text := `<a href="https://index.example.org/x">`
	for _, path := range []string{"/packages/x.whl", "/_f/f/x.tar.gz", "/_f/f/x.whl.metadata", "/integrity/a/1/b/provenance"} {
		_, got, err := ask(t, newHub(t), path, "", serve(mirror, text))
		require.NoError(t, err)
		assert.Equal(t, text, got, path)
	}
}

func TestLearn(t *testing.T) {
	sum := func(s string) string { return strings.Repeat(s, 32) }
	html := `<a href="https://files.example.org/packages/a.whl#sha256=` + sum("0A") + `" data-dist-info-metadata="sha256=` + sum("bb") + `" data-core-metadata="sha256=` + sum("cc") + `">` +
		`<a href="../../packages/b%2b1.tar.gz#egg=b&amp;md5=` + strings.Repeat("d", 32) + `" data-dist-info-metadata="sha256=` + sum("ee") + `">` +
		`<a href="https://decoy.example.com/c.whl#sha256=` + sum("0a") + `"><a href="../../packages/d.whl#sha256=short" data-core-metadata="true"><a name=x>`
	page := `{"files":[` +
		`{"url":"https://files.example.org/packages/a.whl","hashes":{"md5":"` + strings.Repeat("d", 32) + `","sha256":"` + sum("0a") + `"},"size":17,"core-metadata":{"sha256":"` + sum("cc") + `"},"dist-info-metadata":{"sha256":"` + sum("bb") + `"}},` +
		`{"url":"../../packages/b+1.tar.gz","hashes":{"md5":"` + strings.Repeat("d", 32) + `"},"dist-info-metadata":{"sha256":"` + sum("ee") + `"},"size":null},` +
		`{"url":"https://decoy.example.com/c.whl","hashes":{"sha256":"` + sum("0a") + `"}},{"url":"../../packages/d.whl","hashes":{},"core-metadata":true}]}`
	document := `{"urls":[{"url":"https://files.example.org/packages/a.whl","digests":{"sha256":"` + sum("0a") + `"},"size":17}]}`
	type facts map[string]exchange.Fact
	want := facts{
		"/_f/f/a.whl":                     {Size: 17, Digest: exchange.Digest("sha256:" + sum("0a"))},
		"/_f/f/a.whl.metadata":            {Digest: exchange.Digest("sha256:" + sum("cc"))},
		"/packages/b+1.tar.gz":            {Digest: exchange.Digest("md5:" + strings.Repeat("d", 32))},
		"/packages/b+1.tar.gz.metadata":   {Digest: exchange.Digest("sha256:" + sum("ee"))},
		"/packages/d.whl":                 {},
		"/packages/d.whl.metadata":        {},
		"/_f/f/c.whl":                     {},
		"/https:/decoy.example.com/c.whl": {},
	}
	for _, tt := range []struct {
		name, path, accept, text string
		want                     facts
		sized                    bool
	}{
		{"html", "/simple/demo/", "text/html", html, want, false},
		{"json", "/simple/demo/", pipAccepts, page, want, true},
		{"document", "/pypi/demo/json", "", document, facts{"/_f/f/a.whl": want["/_f/f/a.whl"]}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger")})
			require.NoError(t, err)
			defer l.Close()
			h := newHub(t)
			h.hub.Ledger = l
			gets := 0
			_, _, err = ask(t, h, tt.path, tt.accept, exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
				gets++
				return serve(mirror, tt.text).Get(ctx, req)
			}))
			require.NoError(t, err)
			for path, f := range tt.want {
				if !tt.sized {
					f.Size = 0
				}
				got, _ := l.Lookup(t.Context(), exchange.Key{Hub: "pypi", Path: path})
				assert.Equal(t, f, got, path)
			}
			require.NoError(t, l.Close()) // waits for all that reads
			assert.Equal(t, 1, gets, "it is learned while it is edited")
		})
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`<base href="x"><a href="../../x.whl#sha256=00" data-core-metadata="sha256=00">`))
	f.Add([]byte(`{"files":[{"url":"https://files.example.org/packages/x.whl","hashes":{"sha256":"00"},"size":1}]}`))
	f.Add([]byte(`{"urls":[{"url":"//x"}],"releases":{"1":[{"url":"?"}]}}`))
	h := newHub(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		err := h.copy(&out, bytes.NewReader(in), newLinker(h.links, "/simple/demo/", mirror, ""), nil)
		var both bytes.Buffer
		said := func(dst io.Writer, base string) (map[string]exchange.Fact, error) {
			all := map[string]exchange.Fact{}
			l := newLinker(h.links, "/simple/demo/", mirror, "")
			l.base = base
			err := h.copy(dst, bytes.NewReader(in), l, teaching(hub.NewCopy(h.links, base, nil, func(path string, f exchange.Fact) {
				assert.True(t, strings.HasPrefix(path, "/"))
				all[path] = f
			})))
			return all, err
		}
		beside, learned := said(&both, "")
		if err == nil && learned == nil { // who learns looks into more of it, and finds more faults
			require.Equal(t, out.Bytes(), both.Bytes(), "who learns changes nothing")
		}
		based, _ := said(io.Discard, "http://proxy/pypi")
		require.Equal(t, beside, based)
		if err == nil && json.Valid(in) && (in[0] == '{' || in[0] == '[') {
			require.NoError(t, learned)
			require.True(t, json.Valid(out.Bytes()))
		}
	})
}

func link(l *linker, s string) string {
	text, _ := l.link([]byte(s))
	return string(text)
}

func FuzzLink(f *testing.F) {
	for _, l := range links {
		f.Add(l.mirror, l.in)
	}
	h := newHub(f)
	f.Fuzz(func(t *testing.T, mirror, in string) {
		l := newLinker(h.links, "/simple/demo/", mirror, "")
		out := link(l, in)
		_, before, _ := strings.Cut(in, "#")
		_, after, _ := strings.Cut(out, "#")
		assert.Equal(t, before, after, "the fragment is kept")
	})
}

const wanted = 40 << 20 // bytes of a large page

// A demo reads as a page of about size bytes, which is made on the way.
type demo struct {
	size int
	json bool

	read, n int
	next    bytes.Buffer
}

func (d *demo) Read(p []byte) (int, error) {
	for d.next.Len() < len(p) && d.n >= 0 {
		switch d.n++; {
		case d.read > d.size:
			if d.json {
				d.next.WriteString(`null]}`)
			}
			d.n = -1
		case d.json && d.n == 1:
			d.next.WriteString(`{"meta":{"api-version":"1.1"},"name":"demo","files":[`)
		case d.json:
			fmt.Fprintf(&d.next, `{"core-metadata":{"sha256":"%064[1]x"},"data-dist-info-metadata":{"sha256":"%064[1]x"},"filename":"demo-1.0.%[1]d-cp311-cp311-manylinux_2_17_x86_64.whl","hashes":{"sha256":"%064[1]x"},`+
				`"provenance":null,"requires-python":">=3.7","size":%[1]d,"upload-time":"2024-01-01T00:00:00.000000Z","url":"https://files.example.org/packages/ab/demo-1.0.%[1]d-cp311-cp311-manylinux_2_17_x86_64.whl","yanked":false},`, d.n)
		default:
			fmt.Fprintf(&d.next, `    <a href="https://files.example.org/packages/ab/demo-1.0.%[1]d-cp311-cp311-manylinux_2_17_x86_64.whl#sha256=%064[1]x" `+
				`data-requires-python="&gt;=3.7" data-dist-info-metadata="sha256=%064[1]x" data-core-metadata="sha256=%064[1]x">demo-1.0.%[1]d-cp311-cp311-manylinux_2_17_x86_64.whl</a><br />`+"\n", d.n)
		}
	}
	n, err := d.next.Read(p)
	d.read += n
	return n, err
}

// The demand of a page of 40 MB: 100 ms beside the transfer.
func BenchmarkRewrite40MB(b *testing.B) {
	h := newHub(b)
	for _, form := range []string{"html", "json"} {
		page, err := io.ReadAll(&demo{size: wanted, json: form == "json"})
		require.NoError(b, err)
		text := string(page)
		req, err := h.Parse(httptest.NewRequest(http.MethodGet, "/simple/demo/", nil))
		require.NoError(b, err)
		b.Run(form, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			buf := make([]byte, 64<<10)
			for b.Loop() {
				resp, err := h.Rewrite(serve(mirror, text)).Get(b.Context(), req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buf); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
		b.Run(form+" learned", func(b *testing.B) { // in the same pass
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := h.copy(io.Discard, strings.NewReader(text), newLinker(h.links, "/simple/demo/", mirror, ""), func([]byte, string, int64, digest) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Relative links of an index that was found elsewhere are relative to there.
func TestMovedIndex(t *testing.T) {
	u, err := url.Parse("https://m.example.org/")
	require.NoError(t, err)
	links := hub.NewLinks([]*url.URL{u}, nil)
	l := newLinker(links, "/simple/demo/", "https://m.example.org", "https://m.example.org/web/simple/demo/")
	assert.Equal(t, "../../web/packages/demo.whl#sha256=00", link(l, "../../packages/demo.whl#sha256=00"))
	l = newLinker(links, "/simple/demo/", "https://m.example.org", "https://cdn.example.org/simple/demo/")
	assert.Equal(t, "https://cdn.example.org/packages/demo.whl", link(l, "../../packages/demo.whl"))
}
