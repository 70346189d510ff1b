package upstream

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

const login = "<!DOCTYPE html><title>Welcome</title><p>Please accept our terms."

// deb is how a package begins.
const deb = "!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\ncontrol.tar.xz  1700000000  0     0     100644  9         `\n\xfd7zXZ\x00\x00\x04\xe6"

func TestPages(t *testing.T) { // F12
	page := says(200, login, "Content-Type", "text/html; charset=utf-8")
	tests := []struct {
		name, target string
		answer       http.HandlerFunc
		change       func(*exchange.Request)
		bad          bool
	}{
		{"a page for a package", "/a.deb", page, nil, true},
		{"in capital letters", "/A.DEB", says(200, login, "Content-Type", "TEXT/HTML"), nil, true},
		{"with a query", "/a.deb?x=y", page, nil, true},
		{"as XHTML", "/a.whl", says(200, login, "Content-Type", "application/xhtml+xml"), nil, true},
		{"though it is tiny", "/a.zip", says(200, "no", "Content-Type", "text/html"), nil, true},
		{"or empty", "/a.tar.gz", says(200, "", "Content-Type", "text/html"), nil, true},
		{"or packed", "/a.deb", says(200, "\x1f\x8b\x08", "Content-Type", "text/html", "Content-Encoding", "gzip"), nil, true},
		{"without a type", "/a.deb", says(200, login, "Content-Type", ""), nil, true},
		{"whose digest is known", "/a.deb", page, func(r *exchange.Request) { r.Digest = "sha256:00" }, true},
		{"only its head", "/a.deb", page, func(r *exchange.Request) { r.Head = true }, true},
		{"where redirects lead", "/a.deb", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login/" {
				page(w, r)
				return
			}
			http.Redirect(w, r, "/login/", http.StatusFound)
		}, nil, true},
		{"cut within", "/a.deb", says(200, "\x00", "Content-Type", "text/html", "Content-Length", "99"), nil, true},

		{"a page", "/a.html", page, nil, false},
		{"a listing", "/a.deb/", page, nil, false},
		{"a listing after a redirect", "/a.iso", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/a.iso/" {
				page(w, r)
				return
			}
			http.Redirect(w, r, "/a.iso/", http.StatusMovedPermanently)
		}, nil, false},
		{"a program's page", "/download.php?a.deb", page, nil, false},
		{"an index without a suffix", "/simple/demo", page, nil, false},
		{"a packed page", "/a.html.gz", says(200, "\x1f\x8b\x08", "Content-Type", "text/html", "Content-Encoding", "gzip"), nil, false},
		{"a package of a silly type", "/a.deb", says(200, deb, "Content-Type", "text/plain"), nil, false},
		{"text of a silly type", "/a.deb", says(200, "test", "Content-Type", "application/x-deb"), nil, false},
		{"a package that says it is a page", "/a.deb", says(200, deb, "Content-Type", "text/html"), nil, false},
		{"a package without a type", "/a.deb", says(200, deb+strings.Repeat("x", 9999), "Content-Type", ""), nil, false}, // longer than what is looked at
		{"short without a type", "/a.deb", says(200, "x", "Content-Type", ""), nil, false},
		{"what the origin's own fields decide", "/a.deb", page, func(r *exchange.Request) { r.Policy.Class = freshness.Transparent }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req := request(tt.target)
				if tt.change != nil {
					tt.change(req)
				}
				g := bubble(t, Options{}, tt.answer)
				if tt.bad {
					assert.Equal(t, 502, failure(t, g, req).Status)
					assert.EqualValues(t, 1, g.Stats().Mirrors[0].Failed)
					return
				}
				res, text := get(t, g, req)
				assert.Equal(t, 200, res.Entry.Status)
				if res.Entry.Size >= 0 { // some are chunked
					assert.EqualValues(t, len(text), res.Entry.Size)
				}
				assert.Zero(t, g.Stats().Mirrors[0].Failed)
			})
		})
	}
}

// A page loses to an archive that comes later (F12).
func TestPageLoses(t *testing.T) {
	for _, mode := range []string{Adaptive, All, Ordered} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, Options{Race: Race{Mode: mode}},
					says(200, login, "Content-Type", "text/html"), late(time.Second, says(200, deb, "Content-Type", "text/html")))
				res, text := get(t, g, request("/a.deb"))
				assert.Equal(t, "http://m1", res.Entry.Mirror)
				assert.Equal(t, deb, text, "what was looked at stays")
			})
		})
	}
}

// A body that never comes is not waited for longer than a head.
func TestPageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bubble(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		start := time.Now()
		assert.Equal(t, 504, failure(t, g, request("/a.deb")).Status)
		assert.LessOrEqual(t, time.Since(start), 25*time.Second)
	})
}

// An operator who has said what type is good knows better.
func TestPageByChecker(t *testing.T) {
	s := origin(t, says(200, login, "Content-Type", "text/html"))
	o := Options{Mirrors: mirrors(t, s.URL)}
	o.Mirrors[0].Checkers = []Checker{{Headers: []HeaderCheck{{"content-type", regexp.MustCompile("^text/html")}}}}
	_, text := get(t, join(t, o), request("/a.deb"))
	assert.Equal(t, login, text)
}
