package oci

import (
	"context"
	hashes "crypto/sha256"
	"encoding/hex"
	"errors"
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
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

func digestOf(text string) string {
	sum := hashes.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A fake answers by target, and notes what it was asked.
type fake struct {
	answers map[string]reply
	asked   []string // "HEAD target"
	last    *exchange.Request
}

type reply struct {
	status int // 0: 200
	header http.Header
	body   string
	err    error
	more   exchange.Outcome
}

func (f *fake) Get(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
	method := "GET "
	if req.Head {
		method = "HEAD "
	}
	f.asked, f.last = append(f.asked, method+req.Target), req
	a, ok := f.answers[method+req.Target]
	if !ok {
		a, ok = f.answers[req.Target]
	}
	switch {
	case !ok:
		a.status = http.StatusNotFound
	case a.err != nil:
		return nil, a.err
	case a.status == 0:
		a.status = http.StatusOK
	}
	e := &exchange.Entry{Key: req.Key, Status: a.status, Header: a.header, Size: int64(len(a.body)), Mirror: "https://registry.example.org"}
	if req.Head {
		a.body = ""
	}
	return &exchange.Response{Entry: e, Body: io.NopCloser(strings.NewReader(a.body)), Outcome: a.more}, nil
}

func parse(t *testing.T, h *Hub, method, target string, accept ...string) *exchange.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header["Accept"] = accept
	req, err := h.Parse(r)
	require.NoError(t, err)
	req.Head = method == http.MethodHead
	return req
}

func read(t *testing.T, resp *exchange.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return string(body)
}

func typed(contentType, digest string) http.Header {
	h := http.Header{"Content-Type": {contentType}}
	if digest != "" {
		h.Set(digestField, digest)
	}
	return h
}

const (
	image  = `{"schemaVersion":2,"config":{"digest":"sha256:00","size":1}}`
	tagged = "/v2/app/manifests/latest"
)

func TestTag(t *testing.T) {
	digest := digestOf(image)
	manifest := "/v2/app/manifests/" + digest
	ociType, v2Type := types[ociManifest].mediaType, types[dockerManifest].mediaType
	for _, c := range []struct {
		name     string
		answers  map[string]reply
		accept   string
		validate *exchange.Entry
		head     bool
		status   int // 0: an error
		digest   string
		asked    []string
	}{
		{
			name: "by its head, then by digest",
			answers: map[string]reply{
				"HEAD " + tagged: {header: typed(ociType, digest)}, manifest: {header: typed(ociType, ""), body: image},
			},
			status: 200, digest: digest, asked: []string{"HEAD " + tagged, "GET " + manifest},
		},
		{
			name: "unchanged", validate: &exchange.Entry{Digest: exchange.Digest(digest), Size: 7},
			answers: map[string]reply{"HEAD " + tagged: {header: typed(ociType, digest)}},
			status:  304, digest: digest, asked: []string{"HEAD " + tagged},
		},
		{
			name: "unchanged, by another algorithm", validate: &exchange.Entry{Digest: exchange.Digest(digest), Proved: exchange.Digest(sha512)},
			answers: map[string]reply{"HEAD " + tagged: {header: typed(ociType, sha512)}},
			status:  304, digest: sha512, asked: []string{"HEAD " + tagged},
		},
		{
			name: "moved", validate: &exchange.Entry{Digest: exchange.Digest(sha256), Size: 7, Header: typed(ociType, sha256)},
			answers: map[string]reply{
				"HEAD " + tagged: {header: typed(ociType, digest)}, manifest: {header: typed(ociType, ""), body: image},
			},
			status: 200, digest: digest, asked: []string{"HEAD " + tagged, "GET " + manifest},
		},
		{name: "unknown", answers: nil, status: 404, asked: []string{"HEAD " + tagged}},
		{
			name: "no answer", answers: map[string]reply{tagged: {err: &exchange.Error{Status: 504}}},
			asked: []string{"HEAD " + tagged},
		},
		{
			name: "the manifest cannot be had",
			answers: map[string]reply{
				"HEAD " + tagged: {header: typed(ociType, digest)}, manifest: {err: errors.New("gone")},
			},
			asked: []string{"HEAD " + tagged, "GET " + manifest},
		},
		{
			name: "made for an old client, so without a digest of its own", accept: v2Type,
			answers: map[string]reply{
				"HEAD " + tagged: {header: typed(v2Type, digest)}, "GET " + tagged: {header: typed(v2Type, digest), body: image},
			},
			status: 200, digest: digest, asked: []string{"HEAD " + tagged, "GET " + manifest, "GET " + tagged},
		},
		{
			name:    "a registry that does not say",
			answers: map[string]reply{tagged: {header: typed(ociType, ""), body: image}},
			status:  200, digest: digest, asked: []string{"HEAD " + tagged, "GET " + tagged},
		},
		{
			name: "a registry that does not say until it is asked for all, and is wrong",
			answers: map[string]reply{
				"HEAD " + tagged: {header: typed(ociType, "")}, "GET " + tagged: {header: typed(ociType, sha256), body: image},
			},
			asked: []string{"HEAD " + tagged, "GET " + tagged},
		},
		{
			name:    "a portal",
			answers: map[string]reply{tagged: {header: typed("text/html", ""), body: "<html>"}},
			asked:   []string{"HEAD " + tagged, "GET " + tagged},
		},
		{
			name: "no digest that can be checked",
			answers: map[string]reply{
				tagged: {header: typed(ociType, "md5:"+strings.Repeat("a1", 16)), body: image},
			},
			status: 200, digest: digest, asked: []string{"HEAD " + tagged, "GET " + tagged},
		},
		{
			name: "larger than a manifest",
			answers: map[string]reply{
				tagged: {header: typed(ociType, ""), body: `"` + strings.Repeat("a", maxManifest) + `"`},
			},
			asked: []string{"HEAD " + tagged, "GET " + tagged},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, f := newHub(t, nil), &fake{answers: c.answers}
			accept := []string(nil)
			if c.accept != "" {
				accept = []string{c.accept}
			}
			req := parse(t, h, http.MethodGet, tagged, accept...)
			req.Validate = c.validate
			gate := h.Gate(f, f)
			resp, err := gate.Get(t.Context(), req)
			assert.Equal(t, c.asked, f.asked)
			if c.status == 0 {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			text := read(t, resp)
			assert.Equal(t, c.status, resp.Entry.Status)
			assert.Equal(t, req.Key, resp.Entry.Key)
			if c.digest != "" {
				assert.Equal(t, c.digest, resp.Entry.Header.Get(digestField))
				assert.Equal(t, `"`+c.digest+`"`, resp.Entry.Header.Get("Etag"))
			}
			if c.status == 200 {
				assert.Equal(t, image, text)
				assert.EqualValues(t, len(image), resp.Entry.Size)
			}
		})
	}
}

func TestByDigest(t *testing.T) {
	l, err := ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "ledger"), Entries: 1000})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	h := newHub(t, l)
	l.Teach(exchange.Key{Hub: "docker", Path: "/v2/_/blobs/" + sha256}, exchange.Fact{Size: 42, Digest: exchange.Digest(sha256)})
	header := http.Header{"Content-Type": {"x/y"}, "Etag": {`"of-a-bucket"`}, "Ratelimit-Remaining": {"99;w=21600"}}
	f := &fake{answers: map[string]reply{
		"/v2/app/blobs/" + sha256: {header: header, body: "x"}, "/v2/app/manifests/" + sha256: {header: header, body: "x"},
	}}
	resp, err := h.Gate(f, nil).Get(t.Context(), parse(t, h, "GET", "/v2/app/blobs/"+sha256))
	require.NoError(t, err)
	assert.EqualValues(t, 42, f.last.Size, "as a manifest has said")
	assert.Equal(t, "/v2/app/blobs/"+sha256, f.last.Key.Path, "by which mirrors are chosen")
	assert.Equal(t, "/v2/_/blobs/"+sha256, resp.Entry.Key.Path)
	assert.Equal(t, http.Header{"Content-Type": {"x/y"}, "Etag": {`"` + sha256 + `"`}, digestField: {sha256}}, resp.Entry.Header)
	assert.Equal(t, `"of-a-bucket"`, header.Get("Etag"), "what came is not changed")

	_, err = h.Gate(f, nil).Get(t.Context(), parse(t, h, "GET", "/v2/app/manifests/"+sha256, types[dockerOld].mediaType))
	require.NoError(t, err)
	assert.Equal(t, acceptAll, f.last.Header.Get("Accept"))

	resp, err = h.Gate(f, nil).Get(t.Context(), parse(t, h, "GET", "/v2/other/blobs/"+sha256))
	require.NoError(t, err)
	assert.Equal(t, 404, resp.Entry.Status)
	assert.Empty(t, resp.Entry.Header)
	assert.Equal(t, "/v2/_/blobs/"+sha256, resp.Entry.Key.Path)
}

func TestRewrite(t *testing.T) {
	manifest, blob := "/v2/app/manifests/"+sha256, "/v2/app/blobs/"+sha256
	v2Type := types[dockerManifest].mediaType
	for _, c := range []struct {
		name           string
		method, target string
		accept         string
		answer         reply
		status         int
		header         [2]string
		body           string
	}{
		{name: "root", target: "/v2/", status: 200, header: [2]string{"Docker-Distribution-Api-Version", "registry/2.0"}, body: "{}"},
		{name: "head of the root", method: "HEAD", target: "/v2/", status: 200, header: [2]string{"Content-Type", "application/json"}},
		{name: "blob", target: blob, answer: reply{body: "x"}, status: 200, body: "x"},
		{name: "unknown blob", target: blob, answer: reply{status: 404, body: "<html>"}, status: 404, body: "BLOB_UNKNOWN"},
		{name: "blob that is gone", target: blob, answer: reply{status: 410}, status: 404, body: "BLOB_UNKNOWN"},
		{name: "unknown manifest", target: manifest, answer: reply{status: 404}, status: 404, body: "MANIFEST_UNKNOWN"},
		{name: "unknown tag", target: tagged, answer: reply{status: 404}, status: 404, body: "MANIFEST_UNKNOWN"},
		{name: "unknown tag's head", method: "HEAD", target: tagged, answer: reply{status: 404}, status: 404},
		{name: "unknown name", target: "/v2/app/tags/list", answer: reply{status: 404}, status: 404, body: "NAME_UNKNOWN"},
		{name: "denied", target: blob, answer: reply{status: 403, body: `{"errors":[{"code":"UNAUTHORIZED"}]}`}, status: 403, body: "DENIED"},
		{
			name: "a manifest of another type", target: manifest, accept: v2Type, status: 404, body: "MANIFEST_UNKNOWN",
			answer: reply{header: typed(types[ociIndex].mediaType, ""), body: image},
		},
		{
			name: "a manifest of its type", target: manifest, accept: v2Type, status: 200, body: image,
			answer: reply{header: typed(v2Type, ""), body: image},
		},
		{
			name: "a manifest of a type nobody knows", target: manifest, accept: v2Type, status: 200, body: image,
			answer: reply{header: typed("application/vnd.example+json", ""), body: image},
		},
		{
			name: "last page", target: "/v2/app/tags/list", status: 200, header: [2]string{"Link", ""}, body: "tags",
			answer: reply{body: `{"tags":[]}`},
		},
		{
			name: "next page", target: "/v2/app/tags/list?n=2", status: 200, header: [2]string{"Link", `</mount/v2/app/tags/list?last=b&n=2>; rel="next"`}, body: "tags",
			answer: reply{body: `{"tags":[]}`, header: http.Header{"Link": {`</v2/app/tags/list?last=b&n=2>; rel="next"`}}},
		},
		{
			name: "next page elsewhere", target: "/v2/app/tags/list", status: 200, header: [2]string{"Link", `</mount/v2/app/tags/list?next=x%22%3E>; rel="next"`},
			answer: reply{header: http.Header{"Link": {`<https://decoy.example.com/x?next=x%22%3E&ns=y>; rel=next`}}},
		},
		{
			name: "no link to a next page", target: "/v2/app/tags/list", status: 200, header: [2]string{"Link", ""},
			answer: reply{header: http.Header{"Link": {`</v2/app/tags/list?last=b>; rel="prev"`}}},
		},
		{
			name: "busy", target: tagged, status: 429,
			answer: reply{err: &exchange.Error{Status: 503, RetryAfter: 7 * time.Second}},
		},
		{name: "dead", target: tagged, status: 502, answer: reply{err: &exchange.Error{Status: 502}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodGet
			}
			h := newHub(t, nil)
			req := parse(t, h, c.method, c.target, c.accept)
			req.Client.Base = "https://proxy.example.org/mount"
			resp, err := h.Rewrite(&fake{answers: map[string]reply{c.target: c.answer}}).Get(t.Context(), req)
			var e *exchange.Error
			if errors.As(err, &e) {
				assert.Equal(t, c.status, e.Status)
				_, text := h.Refusal(e.Status, e.Message)
				assert.Contains(t, string(text), c.body)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.status, resp.Entry.Status)
			text := read(t, resp)
			assert.Contains(t, text, c.body)
			if c.method == http.MethodHead {
				assert.Empty(t, text)
			}
			if c.header[0] != "" {
				assert.Equal(t, c.header[1], resp.Entry.Header.Get(c.header[0]))
			}
		})
	}
}

// The head of a tag is had by way of the whole, which is then at hand.
func TestHeadOfTag(t *testing.T) {
	h, f := newHub(t, nil), &fake{answers: map[string]reply{tagged: {body: image}}}
	resp, err := h.Rewrite(f).Get(t.Context(), parse(t, h, http.MethodHead, tagged))
	require.NoError(t, err)
	assert.Empty(t, read(t, resp))
	assert.EqualValues(t, len(image), resp.Entry.Size)
	assert.Equal(t, []string{"GET " + tagged}, f.asked)
}

// Two repositories share a transfer; that one does not have the blob says nothing
// of the other.
func TestNotTheOthersAnswer(t *testing.T) {
	h := newHub(t, nil)
	asked := 0
	resp, err := h.Rewrite(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		asked++
		f := &fake{answers: map[string]reply{req.Target: {body: "x"}}}
		if asked == 1 {
			f.answers[req.Target] = reply{status: 404, more: exchange.Outcome{Collapsed: true}}
		}
		return f.Get(t.Context(), req)
	})).Get(t.Context(), parse(t, h, http.MethodGet, "/v2/app/blobs/"+sha256))
	require.NoError(t, err)
	assert.Equal(t, 200, resp.Entry.Status)
}

func TestLearn(t *testing.T) {
	taught := map[string]exchange.Fact{}
	h := newHub(t, nil)
	learn := func(text string) error {
		return h.learn(strings.NewReader(text), func(path string, f exchange.Fact) { taught[path] = f })
	}
	d := func(n string) string { return "sha256:" + strings.Repeat(n, 64) }
	require.NoError(t, learn(`{"config":{"digest":"`+d("1")+`","size":1},"layers":[{"digest":"`+d("2")+`","size":2},{"digest":"`+d("3")+`","size":0}],
		"blobs":[{"digest":"`+d("4")+`","size":4}],"subject":{"digest":"`+d("5")+`","size":5}}`))
	require.NoError(t, learn(`{"manifests":[{"digest":"`+d("6")+`","size":6,"platform":{}},{"digest":"../x","size":6},{"digest":"md5:x"}]}`))
	require.NoError(t, learn(`{"fsLayers":[{"blobSum":"`+d("7")+`"}]}`))
	want := map[string]exchange.Fact{}
	for n, path := range []string{"", "blobs", "blobs", "", "blobs", "manifests", "manifests"} {
		if digest := d(string(rune('0' + n))); path != "" {
			want["/v2/_/"+path+"/"+digest] = exchange.Fact{Size: int64(n), Digest: exchange.Digest(digest)}
		}
	}
	assert.Equal(t, want, taught)
	assert.Error(t, learn("<html>"))
	assert.Error(t, learn(`{"layers":`))
}

func FuzzLearn(f *testing.F) {
	f.Add(`{"config":{"digest":"` + sha256 + `","size":1},"layers":[{"digest":"` + sha512 + `","size":2}]}`)
	f.Add(`{"manifests":[{"digest":"x","size":-1}]}`)
	h := newHub(f, nil)
	f.Fuzz(func(t *testing.T, text string) {
		_ = h.learn(strings.NewReader(text), func(path string, fact exchange.Fact) {
			if p, err := locate(path); err != nil || p.digest != fact.Digest || fact.Size <= 0 {
				t.Fatal(path, fact)
			}
		})
	})
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/app/tags/list?last=b&n=2>; rel="next"`)
	f.Add(`<?a>b>; rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		if query, ok := nextPage(link); ok && strings.ContainsAny(query, "<>\" \r\n#") {
			t.Fatalf("%q", query)
		}
	})
}
