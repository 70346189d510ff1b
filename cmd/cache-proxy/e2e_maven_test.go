//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testMaven: mvn with strict checksums, for a project with a parent, a snapshot
// above that and a build extension. One mirror answers for a checksum with a page,
// which mvn does not get to see; the snapshot is published again. Then both are
// stopped, and another machine with nothing gets the same.
func testMaven(t *testing.T, p program) {
	need(t, "mvn")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	const head = `<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId>`
	var jar bytes.Buffer
	require.NoError(t, zip.NewWriter(&jar).Close())
	for name, content := range map[string]string{
		"org/example/base/1-SNAPSHOT/base-1-20260102.030405-1.pom": head + `<artifactId>base</artifactId><version>1-SNAPSHOT</version><packaging>pom</packaging></project>`,
		"org/example/parent/1.0/parent-1.0.pom": `<project><modelVersion>4.0.0</modelVersion>
<parent><groupId>org.example</groupId><artifactId>base</artifactId><version>1-SNAPSHOT</version><relativePath/></parent>
<artifactId>parent</artifactId><version>1.0</version><packaging>pom</packaging></project>`,
		"org/example/ext/1.0/ext-1.0.pom":                           head + `<artifactId>ext</artifactId><version>1.0</version></project>`,
		"org/example/ext/1.0/ext-1.0.jar":                           jar.String(),
		"org/codehaus/plexus/plexus-utils/1.1/plexus-utils-1.1.jar": jar.String(),
		"org/codehaus/plexus/plexus-utils/1.1/plexus-utils-1.1.pom": `<project><modelVersion>4.0.0</modelVersion><groupId>org.codehaus.plexus</groupId><artifactId>plexus-utils</artifactId><version>1.1</version></project>`,
	} {
		put(t, []byte(content), www, name)
		put(t, fmt.Appendf(nil, "%x  %s\n", sha1.Sum([]byte(content)), filepath.Base(name)), www, name+".sha1")
	}
	snapshot := func(build int, stamp string) {
		put(t, fmt.Appendf(nil, `<metadata modelVersion="1.1.0"><groupId>org.example</groupId><artifactId>base</artifactId><version>1-SNAPSHOT</version><versioning>
<snapshot><timestamp>%s</timestamp><buildNumber>%d</buildNumber></snapshot><lastUpdated>%s</lastUpdated>
<snapshotVersions><snapshotVersion><extension>pom</extension><value>1-%[1]s-%[2]d</value><updated>%[3]s</updated></snapshotVersion></snapshotVersions>
</versioning></metadata>`, stamp, build, strings.Replace(stamp, ".", "", 1)), www, "org/example/base/1-SNAPSHOT/maven-metadata.xml")
	}
	snapshot(1, "20260102.030405")
	a, b := newMirror(t, www), newMirror(t, www)
	const pom = "/org/example/parent/1.0/parent-1.0.pom"
	a.next(pom+".sha1", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>come back later</html>")) })
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: maven
  type: maven
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  cache: {policies: [{match: '/maven-metadata\.xml$', refresh-after: 1ms}]}
log: {level: debug}
`)

	whole := func(name string, more ...string) {
		home := filepath.Join(dir, name)
		put(t, []byte(head+`<artifactId>machine</artifactId><version>1</version><packaging>pom</packaging>
<parent><groupId>org.example</groupId><artifactId>parent</artifactId><version>1.0</version><relativePath/></parent>
<build><extensions><extension><groupId>org.example</groupId><artifactId>ext</artifactId><version>1.0</version></extension></extensions></build></project>`),
			home, "pom.xml")
		put(t, []byte(`<settings><localRepository>`+home+`/repository</localRepository>
<mirrors><mirror><id>hub</id><mirrorOf>*</mirrorOf><url>`+d.url+`/maven/</url></mirror></mirrors>
<profiles><profile><id>snapshots</id><repositories><repository><id>any</id><url>https://repository.example.org/</url>
<releases><enabled>true</enabled></releases><snapshots><enabled>true</enabled></snapshots></repository></repositories></profile></profiles>
<activeProfiles><activeProfile>snapshots</activeProfile></activeProfiles></settings>`), home, "settings.xml")
		out := must(t, home, nil, "mvn", append(more, "-B", "-C", "-s", "settings.xml", "-Duser.home="+home, "validate")...)
		assert.Contains(t, out, "BUILD SUCCESS")
		assert.NotContains(t, out, "hecksum", "nothing to warn about")
		sameFile(t, filepath.Join(www, pom), filepath.Join(home, "repository", pom))
	}
	whole("first")
	assert.Equal(t, 1, a.asked(pom))
	assert.Equal(t, 1, a.asked(pom+".sha1"))
	assert.Equal(t, 1, b.asked(pom+".sha1"), "the mirror that had it right")
	assert.Zero(t, a.asked("/org/example/base/1-SNAPSHOT/maven-metadata.xml.sha1"), "computed here")
	sameFile(t, filepath.Join(www, pom), filepath.Join(d.data, "maven", pom))
	d.noTemporary()

	const next = "org/example/base/1-SNAPSHOT/base-1-20260103.030405-2.pom"
	content := []byte(head + `<artifactId>base</artifactId><version>1-SNAPSHOT</version><packaging>pom</packaging><name>next</name></project>`)
	put(t, content, www, next)
	put(t, fmt.Appendf(nil, "%x", sha1.Sum(content)), www, next+".sha1")
	snapshot(2, "20260103.030405")
	whole("first", "-U")
	sameFile(t, filepath.Join(www, next), filepath.Join(dir, "first/repository/org/example/base/1-SNAPSHOT/base-1-SNAPSHOT.pom"))

	a.stop()
	b.stop()
	whole("second")
	sameFile(t, filepath.Join(www, next), filepath.Join(dir, "second/repository/org/example/base/1-SNAPSHOT/base-1-SNAPSHOT.pom"))
}
