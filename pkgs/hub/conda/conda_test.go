package conda

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

var (
	sumA = strings.Repeat("0a", 32)
	md5A = strings.Repeat("0b", 16)
)

func newHub() *Hub {
	return New(hub.Options{
		Name:    "conda",
		Mirrors: []*url.URL{{Scheme: "https", Host: "conda.example.org", Path: "/c"}},
		Files:   map[string]*url.URL{"static": {Scheme: "https", Host: "static.example.org"}},
	})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/conda-forge/linux-64/repodata.json"},
		hubtest.Sample{Target: "/pkgs/main/noarch/current_repodata.json.zst"},
		hubtest.Sample{Target: "/x/label/dev/linux-64/repodata_shards.msgpack.zst"},
		hubtest.Sample{Target: "/x/linux-64/shards/" + sumA + ".msgpack.zst"},
		hubtest.Sample{Target: "/x/linux-64/a%2bb-1.0-0.conda"},
		hubtest.Sample{Target: "/x/channeldata.json"},
		hubtest.Sample{Target: "/_f/static/x/linux-64/a-1.0-0.tar.bz2", Upstream: "/x/linux-64/a-1.0-0.tar.bz2"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, target, pkg, version string
		class                      freshness.Class
		digest                     exchange.Digest
	}{
		{"list", "/x/osx-arm64/repodata.json?x", "", "", freshness.Mutable, ""},
		{"packed", "/x/noarch/repodata_from_packages.json.bz2", "", "", freshness.Mutable, ""},
		{"patches", "/x/noarch/repodata.jlap", "", "", freshness.Mutable, ""},
		{"exports", "/x/noarch/run_exports.json.zst", "", "", freshness.Mutable, ""},
		{"notices", "/x/notices.json", "", "", freshness.Mutable, ""},
		{"package", "/x/linux-64/a-b-1.0-py_0.conda", "a-b", "1.0", freshness.Immutable, ""},
		{"older package", "/linux-64/_libgcc-1!2.0+x-0.tar.bz2", "_libgcc", "1!2.0+x", freshness.Immutable, ""},
		{"shard", "/x/linux-64/" + sumA + ".msgpack.zst", "", "", freshness.Immutable, exchange.Digest("sha256:" + sumA)},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := newHub().Parse(httptest.NewRequest("GET", test.target, nil))
			require.NoError(t, err)
			assert.Equal(t, test.class, req.Policy.Class)
			assert.Equal(t, test.pkg, req.Package)
			assert.Equal(t, test.version, req.Version)
			assert.Equal(t, test.digest, req.Digest)
		})
	}
	for _, target := range []string{
		"/", "/repodata.json", "/x/repodata.json", "/x/linux-64/", "/x/linux-64/sub/repodata.json", "/x/linux-64/a.zip", "/a-1.0-0.conda", "/x/linux-64/.conda",
		"/_f/static/x/linux-64/repodata.json", "/_f/other/linux-64/a-1-0.conda", "/_f/static/linux-64/" + sumA + ".msgpack.zst", "/t/secret/x/linux-64/repodata.json", "/t/secret/x/linux-64/a-1-0.conda",
	} {
		req, err := newHub().Parse(httptest.NewRequest("GET", target, nil))
		assert.Error(t, err, "%s became %+v", target, req)
	}
}

func repodata(info string) string {
	return `{"info":{` + info + `"subdir":"linux-64"},"packages":{
"a-1.0-0.tar.bz2":{"build":"0","depends":[{"name":"x"}],"name":"a","version":"1.0","md5":"` + md5A + `","size":10}},
"packages.conda":{"a+b-1!2-py_0.conda":{"name":"a+b","version":"1!2","build":"py_0","md5":"` + md5A + `","sha256":"` + sumA + `","size":20},
"bad":{"name":"../../x","version":"1","build":"0","sha256":"` + sumA + `"},"none":{"name":"c","version":"1","build":"0"}},"removed":[]}`
}

// facts reads a list of /x/linux-64 as it comes.
func facts(h *Hub, from *url.URL, text string, teach hub.Teach) error {
	plain, err := hub.Unpack(strings.NewReader(text))
	if err != nil {
		return err
	}
	return copyList(io.Discard, plain, hub.NewCopy(h.links, "", from, teach), "/x/linux-64/")
}

func TestFacts(t *testing.T) {
	from, err := url.Parse("https://conda.example.org/c/x/linux-64/repodata.json")
	require.NoError(t, err)
	for _, test := range []struct{ name, info, dir string }{
		{"beside", "", "/x/linux-64/"},
		{"relative", `"base_url":"../../y/linux-64",`, "/y/linux-64/"},
		{"second host", `"base_url":"https://static.example.org/z/linux-64/",`, "/_f/static/z/linux-64/"},
		{"elsewhere", `"base_url":"https://elsewhere.example/z/linux-64/",`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			io.WriteString(z, repodata(test.info))
			require.NoError(t, z.Close())
			for _, text := range []string{repodata(test.info), packed.String()} {
				got := map[string]exchange.Fact{}
				require.NoError(t, facts(newHub(), from, text, func(path string, f exchange.Fact) { got[path] = f }))
				want := map[string]exchange.Fact{}
				if test.dir != "" {
					want[test.dir+"a-1.0-0.tar.bz2"] = exchange.Fact{Size: 10, Digest: exchange.Digest("md5:" + md5A)}
					want[test.dir+"a+b-1!2-py_0.conda"] = exchange.Fact{Size: 20, Digest: exchange.Digest("sha256:" + sumA)}
				}
				assert.Equal(t, want, got)
			}
		})
	}
}

// pack is a value as msgpack has it; a map is a list of names and values in turn.
func pack(v any) []byte {
	switch v := v.(type) {
	case string:
		return append(binary.BigEndian.AppendUint16([]byte{0xda}, uint16(len(v))), v...)
	case []byte:
		return append([]byte{0xc4, byte(len(v))}, v...)
	case int:
		return binary.BigEndian.AppendUint32([]byte{0xce}, uint32(v))
	case []any:
		b := binary.BigEndian.AppendUint16([]byte{0xde}, uint16(len(v)/2))
		for _, e := range v {
			b = append(b, pack(e)...)
		}
		return b
	}
	return []byte{0x93, 0xc0, 0xc3, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0} // [nil, true, 0.0]
}

func shardOf() []byte {
	sum, _ := hex.DecodeString(sumA)
	return pack([]any{
		"packages", []any{"a-1.0-0.tar.bz2", []any{"depends", nil, "md5", md5A, "size", 10}},
		"packages.conda", []any{"a+b-1!2-py_0.conda", []any{"sha256", sum, "size", 20, "md5", sum[:16]}, "../x.conda", []any{"sha256", sum}},
		"removed", nil,
	})
}

func TestShard(t *testing.T) {
	got := map[string]exchange.Fact{}
	require.NoError(t, readShard("/x/linux-64/")(bytes.NewReader(shardOf()), func(path string, f exchange.Fact) { got[path] = f }))
	assert.Equal(t, map[string]exchange.Fact{
		"/x/linux-64/a-1.0-0.tar.bz2":    {Size: 10, Digest: exchange.Digest("md5:" + md5A)},
		"/x/linux-64/a+b-1!2-py_0.conda": {Size: 20, Digest: exchange.Digest("sha256:" + sumA)},
	}, got)
	for _, bad := range []string{"", "\x81", "\xc1", "\x81\x01\x01", "\x81\xa1a", "\x81\xa1a\xdb\xff\xff\xff\xff", strings.Repeat("\x91", 100) + "\xc0", "\xdf\xff\xff\xff\xff"} {
		assert.Error(t, readShard("/x/linux-64/")(strings.NewReader(bad), func(string, exchange.Fact) {}), "%q", bad)
	}
}

// Lists that lead to packages elsewhere are changed, and have one form.
func TestRewrite(t *testing.T) {
	index := func(base, shards string) string {
		return string(pack([]any{"version", 1, "info", []any{"base_url", base, "shards_base_url", shards}, "shards", []any{"a", []byte("0")}}))
	}
	const static = "https://static.example.org/z/linux-64/"
	for _, test := range []struct {
		name, file, text, want string
		head                   bool
	}{
		{"beside", "repodata.json", repodata(""), repodata(""), false},
		{"relative", "repodata.json.zst", repodata(`"base_url":"../y",`), repodata(`"base_url":"../y",`), false},
		{"elsewhere", "repodata.json", repodata(`"base_url":"https://elsewhere.example/",`), repodata(`"base_url":"https://elsewhere.example/",`), false},
		{"second host", "repodata.json", repodata(`"base_url":"` + static + `",`), repodata(`"base_url":"http://proxy/conda/_f/static/z/linux-64/",`), false},
		{"a mirror", "repodata.json", repodata(`"base_url":"/c/y/linux-64/",`), repodata(`"base_url":"http://proxy/conda/y/linux-64/",`), false},
		{"second host, packed", "repodata.json.zst", repodata(`"base_url":"` + static + `",`), "", false},
		{"second host, packed, its head", "repodata.json.zst", repodata(`"base_url":"` + static + `",`), "", true},
		{"shards", "repodata_shards.msgpack.zst", index("", "./shards/"), index("", "./shards/"), false},
		{"shards of packages elsewhere", "repodata_shards.msgpack.zst", index(static, ""), "", false},
		{"shards elsewhere", "repodata_shards.msgpack.zst", index("./", static), "", false},
		{"no list", "repodata.json", "<html>", "<html>", false}, // it has no links, and clients find it out
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub()
			next := h.Rewrite(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				body := test.text
				if req.Head {
					body = ""
				}
				return &exchange.Response{Entry: &exchange.Entry{Status: 200, Size: int64(len(test.text)), Mirror: "https://conda.example.org/c"}, Body: io.NopCloser(strings.NewReader(body))}, nil
			}))
			for range 2 {
				req, err := h.Parse(httptest.NewRequest("GET", "/x/linux-64/"+test.file, nil))
				require.NoError(t, err)
				req.Client.Base, req.Head = "http://proxy/conda", test.head
				resp, err := next.Get(t.Context(), req)
				if test.want == "" {
					var stated *exchange.Error
					require.ErrorAs(t, err, &stated)
					assert.Equal(t, http.StatusNotFound, stated.Status)
					continue
				}
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, test.want, string(body))
			}
		})
	}
}

func FuzzRepodata(f *testing.F) {
	f.Add(repodata(`"base_url":"https://static.example.org/z/",`))
	from, _ := url.Parse("https://conda.example.org/c/x/linux-64/repodata.json")
	h := newHub()
	f.Fuzz(func(t *testing.T, text string) {
		h.leads([]byte(text), list, from)
		_ = facts(h, from, text, func(path string, _ exchange.Fact) { check(t, h, path) })
	})
}

func FuzzShard(f *testing.F) {
	f.Add(shardOf())
	f.Add([]byte("\x81\xa4info\x81\xa8base_url\xa0"))
	h := newHub()
	f.Fuzz(func(t *testing.T, text []byte) {
		h.leads(text, shards, nil)
		_ = readShard("/x/linux-64/")(bytes.NewReader(text), func(path string, _ exchange.Fact) { check(t, h, path) })
	})
}

// check: what is taught is what Parse makes of a request.
func check(t *testing.T, h *Hub, path string) {
	u, err := url.Parse(path)
	require.NoError(t, err)
	if req, err := h.Parse(&http.Request{URL: u}); err == nil {
		assert.Equal(t, path, req.Key.Path)
		assert.Equal(t, freshness.Immutable, req.Policy.Class)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/x/linux-64/repodata.json", "/noarch/a-1-0.conda", "/_f/static/noarch/a.tar.bz2", "/x/noarch/s/" + sumA + ".msgpack.zst"} {
		f.Add(seed)
	}
	h := newHub()
	f.Fuzz(func(t *testing.T, target string) {
		if req, again, ok := hubtest.Reparse(t, h, target); ok {
			assert.Equal(t, req.Policy, again.Policy)
		}
	})
}
