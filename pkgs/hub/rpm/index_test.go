package rpm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/xmltokens"
)

var hex256 = strings.Repeat("0a", 32)

func fact(size int64, digest string) exchange.Fact {
	return exchange.Fact{Size: size, Digest: exchange.Digest(digest)}
}

const pkg = `<package type="rpm"><name>demo</name><arch>noarch</arch><version epoch="0" ver="1.0" rel="1"/>
<checksum type="sha256" pkgid="YES">` + "%s" + `</checksum><time file="1" build="2"/>
<size package="12" installed="34" archive="56"/><location %shref="Packages/d/demo^1.rpm"/>
<format><rpm:size package="99"/><rpm:requires><rpm:entry name="a"/></rpm:requires><file>/usr/share/demo</file></format></package>
`

func TestReadPrimary(t *testing.T) {
	head := `<?xml version="1.0" encoding="UTF-8"?><metadata xmlns="http://linux.duke.edu/metadata/common" packages="1">`
	for _, c := range []struct {
		name, text string
		want       map[string]exchange.Fact
		bad        bool
	}{
		{name: "a package", text: head + fmt.Sprintf(pkg, strings.ToUpper(hex256), "") + "</metadata>",
			want: map[string]exchange.Fact{"Packages/d/demo^1.rpm": fact(12, "sha256:"+hex256)}},
		{name: "elsewhere", text: head + fmt.Sprintf(pkg, hex256, `xml:base="http://other.example.org/" `) + "</metadata>", want: map[string]exchange.Fact{"": {}}},
		{name: "unknown checksum", text: head + fmt.Sprintf(pkg, "beef", "") + "</metadata>",
			want: map[string]exchange.Fact{"Packages/d/demo^1.rpm": fact(12, "")}},
		{name: "cut", text: head + fmt.Sprintf(pkg, hex256, ""), bad: true},
		{name: "html", text: "<html><body></body></html>", bad: true},
		{name: "crossed", text: head + "<package></metadata></package>", bad: true},
		{name: "nothing", bad: true},
		{name: "deep", text: head + strings.Repeat("<a>", 100), bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]exchange.Fact{}
			err := readPrimary(strings.NewReader(c.text), func(href string, f exchange.Fact) { got[href] = f })
			if c.bad {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// endless is XML whose one text node has no end.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += len(p)
	return len(p), nil
}

func TestBomb(t *testing.T) {
	e := &endless{}
	err := readPrimary(io.MultiReader(strings.NewReader("<metadata><package><checksum>"), e), func(string, exchange.Fact) {})
	require.ErrorContains(t, err, xmltokens.ErrToken.Error())
	assert.Less(t, e.n, 2*xmltokens.MaxToken)
	err = readPrimary(strings.NewReader(`<!DOCTYPE x [<!ENTITY a "aaaa">]><metadata>&a;</metadata>`), func(string, exchange.Fact) {})
	assert.Error(t, err, "an entity of its own") // B27
}

func TestReadDeltas(t *testing.T) {
	got := map[string]exchange.Fact{}
	require.NoError(t, readDeltas(strings.NewReader(`<prestodelta><newpackage name="demo"><delta oldepoch="0">
<filename>drpms/demo-1_2.drpm</filename><sequence>x</sequence><size>77</size><checksum type="sha256">`+hex256+`</checksum></delta></newpackage></prestodelta>`),
		func(href string, f exchange.Fact) { got[href] = f }))
	assert.Equal(t, map[string]exchange.Fact{"drpms/demo-1_2.drpm": fact(77, "sha256:"+hex256)}, got)
}

const repomdText = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1700000000</revision>
  <data type="primary">
    <checksum type="sha256">%s</checksum>
    <open-checksum type="sha256">ff</open-checksum>
    <location href="repodata/primary.xml.gz"/>
    <timestamp>1700000000</timestamp>
    <size>123</size>
    <open-size>456</open-size>
  </data>
</repomd>
`

func TestReadRepomd(t *testing.T) {
	md, err := readRepomd(strings.NewReader(fmt.Sprintf(repomdText, hex256)))
	require.NoError(t, err)
	assert.Equal(t, &repomd{revision: 1700000000, members: map[string]exchange.Fact{
		"repodata/primary.xml.gz": fact(123, "sha256:"+hex256)}}, md)
	_, err = readRepomd(strings.NewReader("<html></html>"))
	assert.Error(t, err)
}

func FuzzXML(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(repomdText, hex256)))
	f.Add([]byte("<metadata>" + fmt.Sprintf(pkg, hex256, "") + "</metadata>"))
	f.Add([]byte("<prestodelta><delta><size>1</size></delta></prestodelta>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		nothing := func(string, exchange.Fact) {}
		_ = readPrimary(bytes.NewReader(text), nothing)
		_ = readDeltas(bytes.NewReader(text), nothing)
		_, _ = readRepomd(bytes.NewReader(text))
	})
}

func BenchmarkReadPrimary(b *testing.B) {
	text := []byte("<metadata>" + strings.Repeat(fmt.Sprintf(pkg, hex256, ""), 20_000) + "</metadata>")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := readPrimary(bytes.NewReader(text), func(string, exchange.Fact) {}); err != nil {
			b.Fatal(err)
		}
	}
}
