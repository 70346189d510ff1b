package hex

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func newHub() *Hub {
	return New(hub.Options{Name: "hex", Mirrors: []*url.URL{{Scheme: "https", Host: "a.example.org"}, {Scheme: "https", Host: "b.example.org"}}})
}

func TestSuite(t *testing.T) {
	hubtest.Run(t, newHub(),
		hubtest.Sample{Target: "/names"},
		hubtest.Sample{Target: "/packages/left_pad"},
		hubtest.Sample{Target: "/repos/acme/packages/left_pad"},
		hubtest.Sample{Target: "/tarballs/left_pad-1.0.0-rc.1%2Bbuild.tar"},
		hubtest.Sample{Target: "/repos/acme/tarballs/left_pad-1.0.0.tar"},
		hubtest.Sample{Target: "/installs/hex-1.x.csv.signed"},
	)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		path, name, version string
		class               freshness.Class
	}{
		{"/names", "", "", freshness.Mutable},
		{"/versions", "", "", freshness.Mutable},
		{"/public_key", "", "", freshness.Immutable},
		{"/packages/demo", "demo", "", freshness.Mutable},
		{"/repos/acme/names", "", "", freshness.Mutable},
		{"/repos/acme/policies/strict", "", "", freshness.Mutable},
		{"/repos/acme/packages/demo", "demo", "", freshness.Mutable},
		{"/tarballs/demo-1.0.0-rc.1.tar", "demo", "1.0.0-rc.1", freshness.Immutable},
		{"/repos/acme/tarballs/demo-1.0.0.tar", "demo", "1.0.0", freshness.Immutable},
		{"/docs/demo-1.0.0.tar.gz", "demo", "1.0.0", freshness.Mutable},
		{"/installs/hex-1.x.csv", "", "", freshness.Mutable},
		{"/installs/hex-1.x.csv.signed", "", "", freshness.Mutable},
		{"/installs/1.14.0/hex-2.0.6.ez", "hex", "2.0.6", freshness.Immutable},
		{"/installs/1.18.0/rebar3-3.24.0-otp-27", "rebar3", "3.24.0-otp-27", freshness.Immutable},
		{"/installs/1.0.0/rebar", "", "", freshness.Mutable},
	} {
		t.Run(test.path, func(t *testing.T) {
			req, err := newHub().Parse(&http.Request{URL: &url.URL{Path: test.path, RawQuery: "x=1"}})
			require.NoError(t, err)
			assert.Equal(t, exchange.Key{Hub: "hex", Path: test.path}, req.Key)
			assert.Equal(t, test.path, req.Target)
			assert.Equal(t, test.class, req.Policy.Class)
			assert.Equal(t, [2]string{test.name, test.version}, [2]string{req.Package, req.Version})
		})
	}
	for _, path := range []string{
		"/", "/packages/", "/packages/a/b", "/packages", "/policies/x", "/tarballs/", "/tarballs/demo.tar", "/tarballs/demo-.tar",
		"/tarballs/demo-1.0.0.tgz", "/tarballs/a/demo-1.0.0.tar", "/repos/", "/repos//names", "/repos/acme", "/repos/acme/installs/x.csv",
		"/repos/acme/repos/b/names", "/docs/demo-1.0.0.tar", "/installs/", "/api/packages/demo", "/registry.ets.gz", "/names/", "/_f/x/y",
	} {
		_, err := newHub().Parse(&http.Request{URL: &url.URL{Path: path}})
		assert.Error(t, err, path)
	}
}

// field is one of a message, of any length.
func field(number int, value string) string {
	b := binary.AppendUvarint(nil, uint64(number<<3|2))
	b = binary.AppendUvarint(b, uint64(len(value)))
	return string(b) + value
}

// pack is a resource as a registry has it.
func pack(payload string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, field(1, payload)+field(2, "signature"))
	_ = z.Close()
	return b.Bytes()
}

// release is one without a digest if sum is "".
func release(version, sum string) string {
	one := field(1, version) + field(2, strings.Repeat("i", 32)) + field(3, field(1, "other")+field(2, "~> 1.0")+"\x18\x01") + field(4, "\x08\x02")
	if sum != "" {
		one += field(5, sum)
	}
	return field(1, one+"\x31eightbyt\x3dfour")
}

var (
	sum     = strings.Repeat("\x0a", 32)
	digest  = exchange.Digest("sha256:" + strings.Repeat("0a", 32))
	payload = release("1.0.0", sum) + release("1.1.0-rc.1+b", sum) + release("0.1.0", "") + release("0.2.0", "short") + field(2, "demo") + field(3, "hexpm")
)

// readPacked reads the resource of demo as it comes.
func readPacked(content []byte, teach func(version string, d exchange.Digest)) error {
	plain, err := hub.Unpack(bytes.NewReader(content))
	if err != nil {
		return err
	}
	defer plain.Close()
	return readPackage(plain, "demo", teach)
}

func TestReadPackage(t *testing.T) {
	for _, test := range []struct {
		name    string
		content []byte
		fails   bool
	}{
		{"whole", pack(payload), false},
		{"name first", pack(field(2, "demo") + payload), false},
		{"not packed", []byte(field(1, payload)), false},
		{"another package", pack(payload + field(2, "else")), true},
		{"no name", pack(release("1.0.0", sum)), true},
		{"cut", pack(payload)[:60], true},
		{"length beyond", pack("\x0a\xff\x01short"), true},
		{"endless number", pack(strings.Repeat("\xff", 20)), true},
		{"group", pack("\x0b"), true},
		{"large version", pack(release(strings.Repeat("1", maxText+1), sum) + payload), true},
		{"page", []byte("<html>please log in</html>"), true},
		{"too many", pack(strings.Repeat(field(1, field(1, "1")+field(5, sum)), maxReleases+1) + payload), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := map[string]exchange.Digest{}
			err := readPacked(test.content, func(version string, d exchange.Digest) { got[version] = d })
			if test.fails {
				require.Error(t, err)
				assert.Empty(t, got, "nothing is taught")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, map[string]exchange.Digest{"1.0.0": digest, "1.1.0-rc.1+b": digest}, got)
		})
	}
}

func TestReadTools(t *testing.T) {
	hash := strings.Repeat("0a", 64)
	for _, test := range []struct{ list, text, want string }{
		{"/installs/hex-1.x.csv", "2.0.6," + hash + ",1.14.0\r\n", "/installs/1.14.0/hex-2.0.6.ez"},
		{"/installs/hex.csv", "2.2.1," + strings.ToUpper(hash) + ",1.18.0,27\n", "/installs/1.18.0/hex-2.2.1-otp-27.ez"},
		{"/installs/rebar3-1.x.csv", "3.22.0," + hash + ",1.14.0", "/installs/1.14.0/rebar3-3.22.0"},
		{"/installs/rebar.csv", "3.24.0," + hash + ",1.18.0,27", "/installs/1.18.0/rebar3-3.24.0-otp-27"},
		{"/installs/hex.csv", "short\n1," + hash + ",..\n1," + hash + ",/x\n1,zz,1.0\n", ""},
	} {
		var got []string
		require.NoError(t, readTools(test.list, strings.NewReader(test.text), func(p string, f exchange.Fact) {
			assert.Equal(t, exchange.Digest("sha512:"+hash), f.Digest)
			got = append(got, p)
		}))
		assert.Equal(t, test.want, strings.Join(got, " "))
	}
	assert.Error(t, readTools("/installs/hex.csv", strings.NewReader(strings.Repeat("x", 2*maxText)), nil))
}

// TestGate: a page in the guise of a resource comes from one mirror at most.
func TestGate(t *testing.T) {
	page, good := []byte("<html>log in</html>"), pack(payload)
	for _, test := range []struct {
		name, path string
		contents   [][]byte // of the mirrors in turn
		want       []byte   // nil: an error
	}{
		{"resource", "/packages/demo", [][]byte{good}, good},
		{"page, then a resource", "/packages/demo", [][]byte{page, good}, good},
		{"pages", "/versions", [][]byte{page, page}, nil},
		{"empty", "/versions", [][]byte{nil, {0x1f}}, nil},
		{"tarball", "/tarballs/demo-1.0.0.tar", [][]byte{page}, page},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub()
			asked := 0
			gate := h.Gate(exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
				require.Less(t, asked, len(test.contents))
				mirror := fmt.Sprint("https://mirror", asked)
				assert.Len(t, req.Avoid, asked)
				assert.False(t, slices.Contains(req.Avoid, mirror))
				body := io.NopCloser(bytes.NewReader(test.contents[asked]))
				asked++
				return &exchange.Response{Entry: &exchange.Entry{Status: 200, Mirror: mirror}, Body: body}, nil
			}), nil)
			req, err := h.Parse(&http.Request{URL: &url.URL{Path: test.path}})
			require.NoError(t, err)
			resp, err := gate.Get(t.Context(), req)
			assert.Equal(t, len(test.contents), asked)
			if test.want == nil {
				var stated *exchange.Error
				require.ErrorAs(t, err, &stated)
				assert.Equal(t, http.StatusBadGateway, stated.Status)
				return
			}
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func FuzzReadPackage(f *testing.F) {
	f.Add([]byte(field(1, payload) + field(2, "signature")))
	f.Add(pack(payload))
	f.Add([]byte("\x0a\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = readPacked(content, func(version string, d exchange.Digest) {
			_, err := exchange.ParseDigest(string(d))
			assert.NoError(t, err)
			assert.LessOrEqual(t, len(version), maxText)
		})
	})
}

func FuzzReadTools(f *testing.F) {
	f.Add("2.0.6," + strings.Repeat("0a", 64) + ",1.14.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = readTools("/installs/hex.csv", strings.NewReader(text), func(p string, _ exchange.Fact) {
			assert.True(t, strings.HasPrefix(p, "/installs/"), p)
		})
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/names", "/packages/a", "/repos/a/tarballs/a-1.tar", "/installs/1.0/a-1.ez", "/installs/x.csv.signed"} {
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
		again, err := h.Parse(&http.Request{URL: &url.URL{Path: hub.Name(req.Key.Path), RawPath: req.Key.Path}})
		require.NoError(t, err)
		assert.Equal(t, req.Key, again.Key)
	})
}
