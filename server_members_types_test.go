package cacheproxy

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documentOf is what a Composer repository says of a package.
func documentOf(name, version, reference string) string {
	return fmt.Sprintf(`{"packages":{%q:[{"name":%q,"version":%q,"version_normalized":%q,"dist":{"url":"{self}/d/%s.zip","type":"zip","reference":%q}}]}}`,
		name, name, version, version+".0", reference, reference)
}

func pubListing(name string, versions ...string) string {
	all := make([]string, len(versions))
	for i, v := range versions {
		all[i] = fmt.Sprintf(`{"version":%q,"pubspec":{"name":%q},"archive_url":"{self}/api/archives/%s-%s.tar.gz"}`, v, name, name, v)
	}
	return fmt.Sprintf(`{"name":%q,"latest":%s,"versions":[%s]}`, name, all[len(all)-1], strings.Join(all, ","))
}

// laterMemberCases are those of the types whose indexes are not merged, but for one.
func laterMemberCases() []memberCase {
	const root = `{"metadata-url":"/p2/%package%.json"}`
	const registry = "/registry.example.org/"
	return []memberCase{
		{
			kind: "composer", private: "[Acme/*, b/secret]",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/p2/acme/x.json", "/p2/acme/x~dev.json", "/p2/Acme/X.json", "/p2/acme%2Fx.json", "/p/acme/x$" + crateSum + ".json", "/p/acme/x.json",
				"/_f/pub/p2/acme/x.json", "/_f/pub/p/acme/x$" + crateSum + ".json", "/providers/acme/x.json", "/p2/b/secret.json", "/p2/b/secret~dev.json",
				"/_d/acme/x/9.0.0.0/ab.zip", "/_d/b/secret/dev-main/ab.zip", "/search.json?q=acme/x&page=1", "/packages/list.json?vendor=acme",
				"/packages/list.json?filter=acme%2F*", "/api/security-advisories/?packages[]=acme/x", "/search.json?q=b/secret;x",
			},
			corp: map[string]string{"/packages.json": root, "/p2/b/lib.json": documentOf("b/lib", "1.0.0", "aa")},
			public: map[string]string{
				"/packages.json": root, "/p2/b/lib.json": documentOf("b/lib", "9.0.0", "bb"), "/d/bb.zip": "evil",
				"/p2/b/other.json": documentOf("b/other", "1.0.0", "cc"), "/d/cc.zip": "public",
			},
			kept: [2]string{"/p2/b/lib.json", "/_d/b/lib/9.0.0.0/bb.zip"}, plain: "/_d/b/other/1.0.0.0/cc.zip",
		},
		{
			kind: "rubygems", private: "[Acme-*, solo]",
			secret: []string{
				"/info/acme-x", "/info/ACME-x", "/gems/acme-x-9.0.gem", "/gems/acme-x-9.0-java.gem", "/gems/solo-1.0-2.gem", "/gems/solo.gem",
				"/quick/Marshal.4.8/acme-x-9.0.gemspec.rz", "/api/v1/gems/acme-x.json", "/api/v1/versions/acme-x/latest.json", "/api/v1/downloads/solo-1.0.json",
				"/api/v2/rubygems/solo/versions/1.0.json", "/api/v1/dependencies?gems=rails,acme-x", "/api/v1/search.json?query=name%3Asolo",
			},
			corp: map[string]string{"/info/lib": "---\n1.0.0 |checksum:" + crateSum + "\n"},
			public: map[string]string{
				"/info/lib": "---\n9.0.0 |checksum:" + crateSum + "\n", "/gems/lib-9.0.0.gem": "evil", "/gems/other-1.0.0.gem": "public",
			},
			kept: [2]string{"/info/lib", "/gems/lib-9.0.0.gem"}, plain: "/gems/other-1.0.0.gem",
		},
		{
			kind: "helm", private: "[acme-*, solo]",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/charts/acme-x-9.0.0.tgz", "/charts/acme-x-9.0.0.tgz.prov", "/acme-x-v9.0.0.tgz?sig=1", "/charts/solo-1.0.0.tgz", "/charts/Solo-1.0.0.tgz",
				"/solo/index.yaml", "/_f/pub/charts/acme-x-9.0.0.tgz", "/_f/pub/solo/download/chart.tgz", "/charts%2Fsolo-1.0.0.tgz",
			},
			corp:   map[string]string{},
			public: map[string]string{"/charts/other-1.0.0.tgz": "public", "/charts/solo-1.0.0.tgz": "evil"},
			plain:  "/charts/other-1.0.0.tgz",
		},
		{
			kind: "conda", private: "[acme, Acme-*]",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/main/noarch/acme-9.0-0.conda", "/main/linux-64/acme-x-9.0-py_0.tar.bz2", "/main/noarch/ACME-9.0-0.conda", "/main/noarch/acme-x-latest.conda",
				"/acme/noarch/repodata.json", "/acme/noarch/repodata.json.zst", "/acme/noarch/repodata_shards.msgpack.zst", "/acme/noarch/shards/" + crateSum + ".msgpack.zst",
				"/acme/noarch/lib-9.0-0.conda", "/_f/pub/noarch/acme-9.0-0.conda",
			},
			corp:   map[string]string{},
			public: map[string]string{"/main/noarch/other-1.0-0.conda": "public", "/main/noarch/acme-9.0-0.conda": "evil"},
			plain:  "/main/noarch/other-1.0-0.conda",
		},
		{
			kind: "nuget", private: "[Acme.*, Solo]",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/flat/acme.x/index.json", "/flat/acme.x/9.0.0/acme.x.9.0.0.nupkg", "/flat/solo/9.0.0/solo.nuspec", "/flat/solo/9.0.0/readme", "/flat/SOLO/index.json",
				"/flat/solo/9.0.0/solo.9.0.0.snupkg", "/reg/acme.x/index.json", "/reg/solo/page/1.0.0/9.0.0.json", "/reg/solo/9.0.0.json", "/solo.9.0.0.nupkg",
				"/v3/catalog0/data/2026.01.01.00/solo.9.0.0.json", "/query?q=acme.x&take=20", "/query?q=packageid:Solo", "/autocomplete?id=solo&prerelease=true",
				"/_f/pub/solo/index.json", "/_f/pub/flat/acme.x/9.0.0/acme.x.9.0.0.nupkg", "/_f/pub/query?q=solo", "/flat%2Fsolo/index.json",
			},
			corp: map[string]string{"/flat/lib/index.json": `{"versions":["1.0.0"]}`},
			public: map[string]string{
				"/flat/lib/index.json": `{"versions":["9.0.0"]}`, "/flat/lib/9.0.0/lib.9.0.0.nupkg": "evil", "/flat/other/1.0.0/other.1.0.0.nupkg": "public",
			},
			kept: [2]string{"/flat/lib/index.json", "/flat/lib/9.0.0/lib.9.0.0.nupkg"}, plain: "/flat/other/1.0.0/other.1.0.0.nupkg",
		},
		{
			kind: "cran", private: "[acme*, solo]",
			secret: []string{
				"/src/contrib/acme_9.0.tar.gz", "/src/contrib/Archive/solo/solo_1.0.tar.gz", "/src/contrib/Solo_1.0-2.tar.gz", "/bin/windows/contrib/4.3/solo_9.0.zip",
				"/bin/macosx/contrib/4.3/acme.x_9.0.tgz", "/web/packages/solo/index.html", "/src/contrib/4.3.0/Recommended/solo_9.0.tar.gz", "/src/contrib%2Fsolo_9.0.tar.gz",
			},
			corp:   map[string]string{},
			public: map[string]string{"/src/contrib/other_1.0.tar.gz": "public", "/src/contrib/solo_1.0.tar.gz": "evil"},
			plain:  "/src/contrib/other_1.0.tar.gz",
		},
		{
			kind: "terraform", private: "[acme, b/secret]",
			options: "files: {pub: '{public}'}",
			secret: []string{
				registry + "acme/x/index.json", registry + "ACME/x/index.json", registry + "acme/x/9.0.0.json", registry + "b/secret/index.json", registry + "b/secret/9.0.0.json",
				registry + "acme/x/terraform-provider-x_9.0.0_linux_amd64.zip", "/_p" + registry + "acme/x/files/x.zip", "/_p" + registry + "b/secret/_f/pub/secret.zip",
				"/_f/pub/terraform-provider-secret_9.0.0.zip", "/files/terraform-provider-secret_9.0.0.zip",
			},
			corp: map[string]string{registry + "b/lib/index.json": `{"versions":{"1.0.0":{}}}`},
			public: map[string]string{
				registry + "b/lib/index.json": `{"versions":{"9.0.0":{}}}`, registry + "b/lib/9.0.0.json": `{"archives":{}}`, registry + "b/other/index.json": `{"versions":{}}`,
			},
			kept: [2]string{registry + "b/lib/index.json", registry + "b/lib/9.0.0.json"}, plain: registry + "b/other/index.json",
		},
		{
			kind: "terraform", private: "[acme, b/secret]",
			options: "hosts: [registry.example.org], files: {pub: '{public}'}",
			secret: []string{
				registry + "acme/x/index.json", registry + "acme/x/9.0.0.json", registry + "acme/x/9.0.0/linux_amd64.json", registry + "b/secret/9.0.0.json",
				"/_p" + registry + "acme/x/_f/pub/x.zip", "/_p" + registry + "b/secret/files/secret.zip", "/_f/pub/terraform-provider-secret_9.0.0.zip",
			},
			corp:   map[string]string{"/b/lib/versions": `{"versions":[{"version":"1.0.0"}]}`},
			public: map[string]string{"/b/lib/versions": `{"versions":[{"version":"9.0.0"}]}`, "/b/other/versions": `{"versions":[]}`},
			kept:   [2]string{registry + "b/lib/index.json", registry + "b/lib/9.0.0.json"}, plain: registry + "b/other/index.json",
		},
		{
			kind: "hex", private: "[acme_*, solo, repos/acme]",
			secret: []string{
				"/packages/acme_x", "/packages/Solo", "/tarballs/acme_x-9.0.0.tar", "/docs/solo-9.0.0.tar.gz", "/repos/acme/packages/lib", "/repos/acme/names",
				"/repos/acme/tarballs/lib-9.0.0.tar", "/repos/other/packages/solo",
			},
			corp: map[string]string{"/packages/lib": "\x1f\x8bcorp"},
			public: map[string]string{
				"/packages/lib": "\x1f\x8b9.0", "/tarballs/lib-9.0.0.tar": "evil", "/tarballs/other-1.0.0.tar": "public", "/packages/solo": "\x1f\x8bevil",
			},
			kept: [2]string{"/packages/lib", "/tarballs/lib-9.0.0.tar"}, plain: "/tarballs/other-1.0.0.tar",
		},
		{
			kind: "pub", private: "[acme_*, solo]", shared: "shelf",
			options: "files: {pub: '{public}'}",
			secret: []string{
				"/api/packages/acme_x", "/api/packages/Solo", "/api/packages/solo/versions/9.0.0", "/api/packages/solo/advisories", "/packages/acme_x/versions/9.0.0.tar.gz",
				"/api/archives/solo-9.0.0.tar.gz", "/_f/pub/packages/solo/versions/9.0.0.tar.gz", "/_f/pub/api/archives/acme_x-9.0.0.tar.gz", "/_f/pub/store/solo/9.0.0.tar.gz",
				"/api/search?q=acme_x", "/api/search?q=dependency:solo&sort=top",
			},
			corp: map[string]string{"/api/packages/lib": pubListing("lib", "1.0.0"), "/api/packages/shelf": pubListing("shelf", "1.0.0", "2.0.0")},
			public: map[string]string{
				"/api/packages/lib": pubListing("lib", "9.0.0"), "/api/archives/lib-9.0.0.tar.gz": "evil", "/api/archives/other-1.0.0.tar.gz": "public",
				"/api/packages/shelf": pubListing("shelf", "2.0.0", "3.0.0"),
			},
			kept: [2]string{"/api/packages/lib", "/api/archives/lib-9.0.0.tar.gz"}, merged: "/api/packages/shelf",
			wants: []string{
				`"archive_url":"http://example.com/h/api/archives/shelf-1.0.0.tar.gz"`, `"version":"3.0.0"`,
				`"latest":{"version":"2.0.0"`, `"archive_url":"http://example.com/h/api/archives/shelf-3.0.0.tar.gz"`,
			},
			plain: "/api/archives/other-1.0.0.tar.gz",
		},
		{
			kind: "flatpak", private: "[org.acme.*, com.x.Solo, refs/heads/acme]",
			secret: []string{
				"/refs/heads/app/org.acme.App/x86_64/stable", "/refs/heads/runtime/org.acme.App.Locale/x86_64/stable", "/refs/heads/app/com.x.Solo/x86_64/stable",
				"/refs/heads/runtime/com.x.Solo.Locale/x86_64/stable", "/com.x.Solo.flatpakref", "/refs/org.acme.App.flatpakref", "/refs/heads/acme/os/x86_64",
				"/refs/heads/app%2Forg.acme.App%2Fx86_64%2Fstable",
			},
			corp:   map[string]string{},
			public: map[string]string{"/refs/heads/app/org.other.App/x86_64/stable": crateSum, "/refs/heads/app/com.x.Solo/x86_64/stable": crateSum},
			plain:  "/refs/heads/app/org.other.App/x86_64/stable",
		},
	}
}

// TestMembersComposerAudit: Composer tells what is installed, and private names go to
// nobody.
func TestMembersComposerAudit(t *testing.T) {
	c := laterMemberCases()[0]
	const path = "/api/security-advisories/"
	c.public[path] = `{"advisories":{}}`
	s, corp, public := memberHub(t, &c, c.kind, c.options)
	post := func(body string, header ...string) int {
		r, w := httptest.NewRequest("POST", "/h"+path, strings.NewReader(body)), httptest.NewRecorder()
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		s.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, 200, post("packages%5B0%5D=acme%2Fx&packages%5B1%5D=psr%2Flog&packages%5B2%5D=B%2FSecret"))
	assert.Equal(t, []string{"POST " + path + " packages%5B1%5D=psr%2Flog"}, public.questions())
	assert.Equal(t, []string{"POST " + path + " packages%5B1%5D=psr%2Flog"}, corp.questions())
	post(`{"packages":["acme/x"]}`)
	for _, q := range public.questions() {
		assert.NotContains(t, q, "acme")
	}
	assert.Equal(t, 415, post("packed", "Content-Encoding", "gzip"))
	assert.Empty(t, public.questions())
}

// TestMembersSecondHosts: a second host is the member's that says so. What is private to
// another one it is not asked for.
func TestMembersSecondHosts(t *testing.T) {
	corp, public := newDepot(t, nil), newDepot(t, nil)
	own := newDepot(t, map[string]string{"/acme-x-1.0.0.tgz": "own"})
	foreign := newDepot(t, map[string]string{"/acme-x-1.0.0.tgz": "evil", "/other-1.0.0.tgz": "public"})
	s := serverOf(t, fmt.Sprintf(`
hubs:
- name: h
  type: helm
  options: {files: {own: %s, foreign: %s}}
  upstream:
  - {server: %s, member: corp, private: acme-*, second-hosts: own}
  - {server: %s, member: public, second-hosts: foreign}
`, own.URL, foreign.URL, corp.URL, public.URL), io.Discard)
	w := ask(s, "GET", "/h/_f/own/acme-x-1.0.0.tgz")
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "own", w.Body.String())
	assert.Equal(t, 404, ask(s, "GET", "/h/_f/foreign/acme-x-1.0.0.tgz").Code)
	assert.Empty(t, foreign.questions())
	assert.Equal(t, 200, ask(s, "GET", "/h/_f/foreign/other-1.0.0.tgz").Code)
	assert.Empty(t, public.questions())
}
