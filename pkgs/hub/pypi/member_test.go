package pypi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func merge(h *Hub, texts ...string) (string, error) {
	req := &exchange.Request{Key: exchange.Key{Hub: "pypi", Path: "/simple/demo/"}, Package: "demo"}
	var parts []hub.Part
	for i, text := range texts {
		e := &exchange.Entry{Key: req.Key, Status: 200, Mirror: []string{mirror, "https://corp.example.org/pypi", "https://c.example.org"}[i]}
		parts = append(parts, hub.Part{Entry: e, Body: strings.NewReader(text)})
	}
	var b bytes.Buffer
	err := h.Merge(&b, req, parts)
	return b.String(), err
}

const (
	asHTML = `<!DOCTYPE html><html><head><base href="https://corp.example.org/else/"></head><body>
<a href="demo-1.0.tar.gz#sha256=00000000000000000000000000000000000000000000000000000000000000aa" data-requires-python="&gt;=3.8" data-yanked="bad &amp; old" data-gpg-sig="false">demo-1.0.tar.gz</a>
<a href="demo-2.0-py3-none-any.whl" data-core-metadata="sha256=00000000000000000000000000000000000000000000000000000000000000bb" data-yanked>x</a>
<a>no link</a></body></html>`
	asText = `{"meta":{"api-version":"1.1"},"name":"demo","versions":["2.0","3.0"],"files":[
{"filename":"demo-2.0-py3-none-any.whl","url":"../../p/demo-2.0-py3-none-any.whl","hashes":{},"size":2},
{"filename":"demo-3.0.tar.gz","url":"../../p/demo-3.0.tar.gz","hashes":{"sha256":"cc"},"size":3,"requires-python":null,"yanked":false,"upload-time":"2026-01-01T00:00:00Z","core-metadata":{"sha256":"dd"},"provenance":"/integrity/demo"}]}`
)

func TestMerge(t *testing.T) {
	h := newHub(t)
	text, err := merge(h, asText, asHTML)
	require.NoError(t, err)
	var page struct {
		Meta struct {
			Version string `json:"api-version"`
		}
		Name     string
		Versions []string
		Files    []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(text), &page))
	assert.Equal(t, "1.0", page.Meta.Version, "HTML knows no sizes")
	assert.Equal(t, "demo", page.Name)
	require.Len(t, page.Files, 3)
	assert.Equal(t, mirror+"/p/demo-2.0-py3-none-any.whl", page.Files[0]["url"], "the first one's counts")
	assert.Equal(t, map[string]any{
		"filename": "demo-3.0.tar.gz", "url": mirror + "/p/demo-3.0.tar.gz", "hashes": map[string]any{"sha256": "cc"}, "size": 3.0,
		"yanked": false, "upload-time": "2026-01-01T00:00:00Z", "core-metadata": map[string]any{"sha256": "dd"}, "provenance": mirror + "/integrity/demo",
	}, page.Files[1])
	assert.Equal(t, map[string]any{
		"filename": "demo-1.0.tar.gz", "url": "https://corp.example.org/else/demo-1.0.tar.gz", "requires-python": ">=3.8", "yanked": "bad & old",
		"hashes": map[string]any{"sha256": strings.Repeat("0", 62) + "aa"}, "gpg-sig": false,
	}, page.Files[2])

	text, err = merge(h, asHTML, asText)
	require.NoError(t, err)
	assert.Contains(t, text, `<a href="https://corp.example.org/else/demo-1.0.tar.gz#sha256=`+strings.Repeat("0", 62)+`aa" data-requires-python="&gt;=3.8" data-yanked="bad &amp; old" data-gpg-sig="false">demo-1.0.tar.gz</a>`)
	assert.Contains(t, text, `<a href="https://corp.example.org/else/demo-2.0-py3-none-any.whl" data-yanked="" data-core-metadata="sha256=`+strings.Repeat("0", 62)+`bb">`)
	assert.Contains(t, text, `data-core-metadata="sha256=dd"`)
	assert.Equal(t, 1, strings.Count(text, "demo-2.0-py3-none-any.whl</a>"))

	text, err = merge(h, asText, asText)
	require.NoError(t, err)
	assert.Contains(t, text, `"api-version":"1.1"`)
	assert.Contains(t, text, `"versions":["2.0","3.0"]`)
	for _, bad := range []string{`{"files":[1]}`, `{"files":`, `<a href="x`} {
		_, err := merge(h, asText, bad)
		assert.Error(t, err, bad)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(asText, asHTML)
	f.Add(asHTML, asText)
	f.Add(`{"files":[{"url":"%zz"}]}`, `<a href="x#sha256=&md5">`)
	h := newHub(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := merge(h, a, b)
		if err != nil {
			return
		}
		again, err := merge(h, a, b)
		require.NoError(t, err)
		assert.Equal(t, text, again, "equal parts make equal bytes")
		if _, json, err := sniff(strings.NewReader(text)); err == nil && json {
			_, err = merge(h, text, text)
			assert.NoError(t, err, "it can be read")
		}
	})
}
