package cacheproxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A depot is an origin of a few files that remembers all it was asked for.
type depot struct {
	*httptest.Server
	files map[string]string // by path and query; "{self}" is its own URL

	mu    sync.Mutex
	asked []string // requests with their bodies; guarded by mu
	down  bool     // guarded by mu
}

func newDepot(t *testing.T, files map[string]string) *depot {
	d := &depot{files: files}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.asked = append(d.asked, r.Method+" "+r.RequestURI+" "+string(body))
	down := d.down
	d.mu.Unlock()
	text, ok := d.files[r.RequestURI]
	switch {
	case down:
		w.WriteHeader(http.StatusInternalServerError)
	case !ok:
		http.NotFound(w, r)
	default:
		text = strings.ReplaceAll(text, "{self}", d.URL)
		switch {
		case strings.HasPrefix(text, "{"):
			w.Header().Set("Content-Type", "application/json")
		case strings.HasPrefix(text, "<"):
			w.Header().Set("Content-Type", "text/html")
		}
		sum := sha256.Sum256([]byte(text))
		w.Header().Set("Etag", `"`+hex.EncodeToString(sum[:4])+`"`)
		if r.Header.Get("If-None-Match") == w.Header().Get("Etag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		io.WriteString(w, text)
	}
}

func (d *depot) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

func (d *depot) fail(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

const crate = "crate"

var crateSum = func() string {
	sum := sha256.Sum256([]byte(crate))
	return hex.EncodeToString(sum[:])
}()

func metadataOf(versions ...string) string {
	return "<metadata><groupId>org.x</groupId><artifactId>lib</artifactId><versioning><latest>" + versions[len(versions)-1] +
		"</latest><versions><version>" + strings.Join(versions, "</version><version>") + "</version></versions><lastUpdated>2026010100000" +
		versions[0][:1] + "</lastUpdated></versioning></metadata>"
}

func packumentOf(name string, versions ...string) string {
	var b, at strings.Builder
	for i, v := range versions {
		if i > 0 {
			b.WriteString(",")
			at.WriteString(",")
		}
		fmt.Fprintf(&b, `%q:{"name":%q,"version":%q,"dist":{"tarball":"{self}/%s/-/%s-%s.tgz"}}`, v, name, v, name, name[strings.LastIndexByte(name, '/')+1:], v)
		fmt.Fprintf(&at, `%q:"2026-01-01T00:00:00Z"`, v)
	}
	return fmt.Sprintf(`{"name":%q,"dist-tags":{"latest":%q},"versions":{%s},"time":{%s}}`, name, versions[len(versions)-1], b.String(), at.String())
}

func pageOf(files ...string) string {
	var b strings.Builder
	b.WriteString("<html><body>")
	for _, f := range files {
		fmt.Fprintf(&b, `<a href="../../packages/%s">%s</a>`, f, f)
	}
	return b.String()
}

// memberCase is a type of hub with what a private and a public member of one have.
type memberCase struct {
	kind    string
	options string
	private string   // patterns
	shared  string   // a name
	secret  []string // requests about private names: none of them may reach the public member
	corp    map[string]string
	public  map[string]string

	kept   [2]string // the index and a file of a package that both have, and no pattern names
	merged string    // the index of the shared package
	wants  []string  // of both members, that must stand in it
	plain  string    // a file that only the public member has
}

func memberCases() []memberCase {
	return append([]memberCase{
		{
			kind: "pypi", private: "[Acme_*, solo]", shared: "torch",
			secret: []string{
				"/simple/acme-x/", "/simple/ACME.x/", "/packages/acme_x-9.0-py3-none-any.whl", "/packages/acme-x-9.0.tar.gz",
				"/packages/acme_x-9.0-py3-none-any.whl.metadata", "/packages/acme-x-latest.zip", "/packages/acme-x-9.0.tar.gz.asc",
				"/packages/solo-1.0-2.tar.gz", "/packages/solo-1.0.win32.exe",
				"/pypi/acme-x/json", "/pypi/acme-x/9.0/json", "/integrity/acme-x/9.0/acme_x-9.0.tar.gz/provenance",
				"/_f/pub/acme_x-9.0-py3-none-any.whl", "/_f/pub/ab/cd/solo-1.0-2.zip",
			},
			options: "files: {pub: '{public}/packages'}",
			corp: map[string]string{
				"/simple/lib/": pageOf("lib-1.0.tar.gz"), "/simple/torch/": pageOf("torch-1.0.tar.gz", "torch-2.0.tar.gz"),
				"/packages/lib-1.0.tar.gz": "corp", "/packages/torch-1.0.tar.gz": "corp",
			},
			public: map[string]string{
				"/simple/lib/": pageOf("lib-9.0.tar.gz"), "/simple/torch/": pageOf("torch-2.0.tar.gz", "torch-3.0.tar.gz"),
				"/packages/lib-9.0.tar.gz": "evil", "/packages/other-1.0.tar.gz": "public", "/packages/torch-3.0.tar.gz": "public",
			},
			kept: [2]string{"/simple/lib/", "/packages/lib-9.0.tar.gz"}, merged: "/simple/torch/",
			wants: []string{`href="../../packages/torch-1.0.tar.gz"`, `href="../../packages/torch-2.0.tar.gz"`, `href="../../_f/pub/torch-3.0.tar.gz"`},
			plain: "/packages/other-1.0.tar.gz",
		},
		{
			kind: "npm", private: "['@acme', acme-*]", shared: "left-pad",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/@acme%2fx", "/@acme/x", "/@acme/x/9.0.0", "/@acme/x/-/x-9.0.0.tgz", "/acme-x", "/acme-x/latest", "/acme-x/-/odd.tgz",
				"/-/package/@acme%2fx/dist-tags", "/-/npm/v1/attestations/@acme%2fx@9.0.0", "/-/v1/search?text=@acme/x&size=20",
				"/-/v1/search?text=scope:acme", "/_f/pub/@acme/x/-/x-9.0.0.tgz", "/_f/pub/acme-x/-/odd.tgz",
			},
			corp: map[string]string{
				"/lib": packumentOf("lib", "1.0.0"), "/left-pad": packumentOf("left-pad", "1.0.0", "2.0.0"),
				"/lib/-/lib-1.0.0.tgz": "corp",
			},
			public: map[string]string{
				"/lib": packumentOf("lib", "9.0.0"), "/left-pad": packumentOf("left-pad", "2.0.0", "3.0.0"),
				"/lib/-/lib-9.0.0.tgz": "evil", "/other/-/other-1.0.0.tgz": "public",
			},
			kept: [2]string{"/lib", "/lib/-/lib-9.0.0.tgz"}, merged: "/left-pad",
			wants: []string{`"1.0.0":{`, `"3.0.0":{`, `"latest":"2.0.0"`, `"tarball":"http://example.com/h/left-pad/-/left-pad-3.0.0.tgz"`},
			plain: "/other/-/other-1.0.0.tgz",
		},
		{
			kind: "go", private: "[corp.example.org/*, '*.corp.example.org']", shared: "example.org/shared",
			options: "sumdb: [{name: sum.example.org, url: '{public}'}], verify: sumdb",
			secret: []string{
				"/corp.example.org/x/@v/list", "/corp.example.org/x/@latest", "/corp.example.org/x/@v/v9.0.0.info",
				"/corp.example.org/x/y/@v/v9.0.0.zip", "/git.corp.example.org/x/@v/v9.0.0.mod", "/corp.example.org/x/@v/main.info",
				"/sumdb/sum.example.org/lookup/corp.example.org/x@v9.0.0",
			},
			corp: map[string]string{
				"/example.org/lib/@v/list": "v1.0.0\n", "/example.org/shared/@v/list": "v1.0.0\nv1.1.0\n",
				"/example.org/lib/@v/v1.0.0.info": `{"Version":"v1.0.0"}`,
			},
			public: map[string]string{
				"/example.org/lib/@v/list": "v1.9.0\n", "/example.org/shared/@v/list": "v1.1.0\nv1.2.0\n",
				"/example.org/lib/@v/v1.9.0.info": `{"Version":"v1.9.0"}`, "/example.org/other/@v/v1.0.0.info": `{"Version":"v1.0.0"}`,
			},
			kept: [2]string{"/example.org/lib/@v/list", "/example.org/lib/@v/v1.9.0.info"}, merged: "/example.org/shared/@v/list",
			wants: []string{"v1.0.0\nv1.1.0\nv1.2.0\n"}, plain: "/example.org/other/@v/v1.0.0.info",
		},
		{
			kind: "cargo", private: "[Acme_*]", shared: "serde",
			secret: []string{
				"/ac/me/acme-x", "/ac/me/acme_x", "/_dl/acme-x/9.0.0/" + crateSum, "/_dl/Acme_x/9.0.0/" + crateSum, "/api/v1/crates?q=acme-x",
			},
			corp: map[string]string{
				"/config.json": `{"dl":"{self}/dl/{crate}-{version}.crate","api":"{self}"}`,
				"/3/l/lib":     `{"name":"lib","vers":"1.0.0"}`, "/se/rd/serde": `{"vers":"1.0.0"}` + "\n" + `{"vers":"2.0.0"}`,
			},
			public: map[string]string{
				"/config.json": `{"dl":"{self}/crates","api":"{self}"}`,
				"/3/l/lib":     `{"name":"lib","vers":"9.0.0"}`, "/se/rd/serde": `{"vers":"2.0.0+x"}` + "\n" + `{"vers":"3.0.0"}`,
				"/crates/lib/9.0.0/download": crate, "/crates/other/1.0.0/download": crate,
			},
			kept: [2]string{"/3/l/lib", "/_dl/lib/9.0.0/" + crateSum}, merged: "/se/rd/serde",
			wants: []string{`{"vers":"1.0.0"}` + "\n" + `{"vers":"2.0.0"}` + "\n" + `{"vers":"3.0.0"}` + "\n"},
			plain: "/_dl/other/1.0.0/" + crateSum,
		},
		{
			kind: "maven", private: "[org.acme, 'com.x:secret*']", shared: "org.x:shared",
			secret: []string{
				"/org/acme/maven-metadata.xml", "/org/acme/lib/maven-metadata.xml", "/org/acme/lib/maven-metadata.xml.sha1",
				"/org/acme/sub/lib/9/lib-9.jar", "/org/acme/lib/9/lib-9.jar.sha1", "/org/acme/lib/9-SNAPSHOT/maven-metadata.xml",
				"/com/x/secret-lib/9/secret-lib-9.pom",
			},
			corp: map[string]string{
				"/org/x/lib/maven-metadata.xml": metadataOf("1"), "/org/x/shared/maven-metadata.xml": metadataOf("1", "2"),
				"/org/x/lib/1/lib-1.jar": "corp",
			},
			public: map[string]string{
				"/org/x/lib/maven-metadata.xml": metadataOf("9"), "/org/x/shared/maven-metadata.xml": metadataOf("2", "3"),
				"/org/x/lib/9/lib-9.jar": "evil", "/org/x/other/1/other-1.jar": "public",
			},
			kept: [2]string{"/org/x/lib/maven-metadata.xml", "/org/x/lib/9/lib-9.jar"}, merged: "/org/x/shared/maven-metadata.xml",
			wants: []string{"<version>1</version>", "<version>3</version>", "<latest>3</latest>"}, plain: "/org/x/other/1/other-1.jar",
		},
		{
			kind: "oci", private: "[acme]",
			secret: []string{
				"/v2/acme/app/manifests/latest", "/v2/acme/app/tags/list", "/v2/acme/app/blobs/sha256:" + crateSum,
				"/v2/acme/app/manifests/sha256:" + crateSum, "/v2/acme/app/referrers/sha256:" + crateSum,
			},
			corp: map[string]string{"/v2/team/lib/tags/list?n=1": `{"name":"team/lib","tags":["1"]}`},
			public: map[string]string{
				"/v2/team/lib/blobs/sha256:" + crateSum: crate, "/v2/team/other/blobs/sha256:" + crateSum: crate,
			},
			kept: [2]string{"", "/v2/team/lib/blobs/sha256:" + crateSum}, plain: "/v2/team/other/blobs/sha256:" + crateSum,
		},
		{
			kind: "files", private: "[acme, dists/*/secret]",
			secret: []string{"/acme/x.tar.gz", "/acme", "/%61cme/x.tar.gz", "/a/../acme/x.tar.gz", "//acme/x.tar.gz", "/dists/trixie/secret/x?y=z"},
			corp:   map[string]string{"/both": "corp"},
			public: map[string]string{"/both": "public", "/other": "public"},
			plain:  "/other",
		},
	}, laterMemberCases()...)
}

// memberHub is a server of one hub "h" with the case's members.
func memberHub(t *testing.T, c *memberCase, kind, options string) (s *Server, corp, public *depot) {
	t.Helper()
	corp, public = newDepot(t, c.corp), newDepot(t, c.public)
	shared := ""
	if c.shared != "" {
		shared = ", shared: '" + c.shared + "'"
	}
	text := fmt.Sprintf(`
hubs:
- name: h
  type: %s
  options: {%s}
  cache: {negative: 0s}
  upstream:
  - {server: %s, member: corp, private: %s%s}
  - {server: %s, member: public}
`, kind, strings.ReplaceAll(options, "{public}", public.URL), corp.URL, c.private, shared, public.URL)
	return serverOf(t, text, io.Discard), corp, public
}

// TestMembersB13: a private name is asked of the member that it is private to, and
// not a byte of a question goes to any other, whatever that one has.
func TestMembersB13(t *testing.T) {
	for _, c := range memberCases() {
		t.Run(c.kind, func(t *testing.T) {
			s, corp, public := memberHub(t, &c, c.kind, c.options)
			for _, target := range c.secret {
				w := ask(s, "GET", "/h"+target)
				assert.GreaterOrEqual(t, w.Code, 400, target)
				assert.Less(t, w.Code, 500, target)
				assert.Empty(t, public.questions(), target)
			}
			assert.NotEmpty(t, corp.questions())
			corp.fail(true)
			for _, target := range c.secret {
				ask(s, "GET", "/h"+target)
				ask(s, "HEAD", "/h"+target)
				assert.Empty(t, public.questions(), target)
			}
			corp.fail(false)
			w := ask(s, "GET", "/h"+c.plain)
			assert.Equal(t, 200, w.Code, w.Body.String())
			assert.NotEmpty(t, public.questions())
		})
	}
}

// TestMembersGeneric: types that know nothing of members keep paths private.
func TestMembersGeneric(t *testing.T) {
	c := &memberCase{private: "[acme, pool/main/a/acme-*]", corp: map[string]string{}, public: map[string]string{"/acme/x": "evil"}}
	for _, kind := range []string{"apt", "rpm", "apk", "pacman", "files"} {
		t.Run(kind, func(t *testing.T) {
			s, _, public := memberHub(t, c, kind, "")
			for _, target := range []string{
				"/acme/dists/trixie/InRelease", "/acme/repodata/repomd.xml", "/acme/x86_64/APKINDEX.tar.gz", "/acme/os/x86_64/core.db",
				"/acme/x", "/pool/main/a/acme-x/acme-x_9_all.deb", "/acme/x-9-1.noarch.rpm", "/acme/x-9-r0.apk", "/acme/x-9-1-any.pkg.tar.zst",
			} {
				assert.NotEqual(t, 200, ask(s, "GET", "/h"+target).Code, target)
			}
			assert.Empty(t, public.questions())
		})
	}
}

// TestMembersMerged: the reverse of dependency confusion. What a private member has
// is not merged with what others have under the same name, unless it is shared.
func TestMembersMerged(t *testing.T) {
	for _, c := range memberCases() {
		t.Run(c.kind, func(t *testing.T) {
			s, corp, public := memberHub(t, &c, c.kind, strings.ReplaceAll(c.options, ", verify: sumdb", ""))
			if index, file := c.kept[0], c.kept[1]; file != "" {
				if index != "" {
					w := ask(s, "GET", "/h"+index)
					assert.Equal(t, 200, w.Code)
					assert.NotContains(t, w.Body.String(), "9.0")
				}
				assert.Equal(t, 404, ask(s, "GET", "/h"+file).Code)
				for _, q := range public.questions() {
					assert.Contains(t, q, "/config.json", "of no package's content")
				}
			}
			if c.merged == "" {
				return
			}
			w := ask(s, "GET", "/h"+c.merged)
			assert.Equal(t, 200, w.Code, w.Body.String())
			for _, want := range c.wants {
				assert.Contains(t, w.Body.String(), want)
			}
			corp.questions()
			public.questions()
			again := ask(s, "GET", "/h"+c.merged, "Cache-Control", "no-cache")
			assert.Equal(t, w.Body.String(), again.Body.String())
		})
	}
}

// TestMembersAudit: npm tells what is installed, and private names go to nobody.
func TestMembersAudit(t *testing.T) {
	c := memberCases()[1]
	c.public["/-/npm/v1/security/advisories/bulk"] = "{}"
	c.public["/-/npm/v1/security/audits/quick"] = "{}"
	s, _, public := memberHub(t, &c, c.kind, c.options)
	post := func(target string, body []byte, encoding string) int {
		r, w := httptest.NewRequest("POST", "/h"+target, bytes.NewReader(body)), httptest.NewRecorder()
		r.Header.Set("Content-Encoding", encoding)
		s.ServeHTTP(w, r)
		return w.Code
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"@acme/x":["1.0.0"],"left-pad":["1.0.0"]}`)
	require.NoError(t, z.Close())
	assert.Equal(t, 200, post("/-/npm/v1/security/advisories/bulk", packed.Bytes(), "gzip"))
	assert.Equal(t, []string{`POST /-/npm/v1/security/advisories/bulk {"left-pad":["1.0.0"]}`}, public.questions())
	assert.Equal(t, 404, post("/-/npm/v1/security/audits/quick", []byte(`{"requires":{"@acme/x":"1"}}`), ""))
	assert.Equal(t, 400, post("/-/npm/v1/security/advisories/bulk", []byte(`[`), ""))
	assert.Empty(t, public.questions())
}

// TestMembersLate: what a public member gave before its name became private is
// forgotten, and not served any more.
func TestMembersLate(t *testing.T) {
	c := memberCases()[0]
	c.public["/packages/acme_x-9.0-py3-none-any.whl"], c.public["/simple/acme-x/"] = "evil", pageOf("acme_x-9.0-py3-none-any.whl")
	corp, public := newDepot(t, c.corp), newDepot(t, c.public)
	text := func(private string) string {
		return fmt.Sprintf("hubs: [{name: h, type: pypi, upstream: [{server: %s, member: corp%s}, {server: %s, member: public}]}]", corp.URL, private, public.URL)
	}
	s := serverOf(t, text(""), io.Discard)
	dir := s.revision().config.Storage.Local.Path
	assert.Equal(t, 200, ask(s, "GET", "/h/packages/acme_x-9.0-py3-none-any.whl").Code)
	assert.Equal(t, 200, ask(s, "GET", "/h/simple/acme-x/").Code)
	next, _ := must(t, text(", private: acme-*"))
	next.Storage.Local.Path = dir
	require.NoError(t, s.Reload(next))
	public.questions()
	// One that is still on its way to the disk would be asked for again: 503.
	settled(t, s)
	for _, target := range []string{"/h/packages/acme_x-9.0-py3-none-any.whl", "/h/simple/acme-x/"} {
		w := ask(s, "GET", target)
		assert.Equal(t, 404, w.Code, target)
		assert.NotContains(t, w.Body.String(), "evil")
	}
	assert.Empty(t, public.questions())
}

// TestMembersDown: a member with private names that cannot be asked is no reason to
// believe another one.
func TestMembersDown(t *testing.T) {
	c := memberCases()[0]
	s, corp, public := memberHub(t, &c, c.kind, c.options)
	corp.fail(true)
	assert.Equal(t, 502, ask(s, "GET", "/h/simple/lib/").Code)
	assert.Equal(t, 502, ask(s, "GET", "/h/packages/other-1.0.tar.gz").Code)
	assert.Empty(t, public.questions())
	corp.fail(false)
	assert.Equal(t, 200, ask(s, "GET", "/h/packages/other-1.0.tar.gz").Code)
}
