package hub_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// tagged maps href and drops <base>.
func tagged(t *hub.Tag) error {
	if t.Name() == "base" {
		t.Drop()
	}
	t.Map("href", func(v string) string {
		if v == "keep" {
			return v
		}
		return "[" + v + "]"
	})
	return nil
}

func TestCopyHTML(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	tests := []struct{ name, in, want string }{
		{"plain", "a < b & c <", "a < b & c <"},
		{"quotes", `<a href="x">x</a><a href='y'>y</a>`, `<a href="[x]">x</a><a href='[y]'>y</a>`},
		{"unquoted", `<a href=x>x</a><a href=y/ class=b>`, `<a href="[x]">x</a><a href="[y/]" class=b>`},
		{"case and blanks", "<A\n HREF = \"x\"\tid>", "<A\n HREF = \"[x]\"\tid>"},
		{"entities", `<a href="x?a=1&amp;b=2&copy=3" data-r="&gt;=3.7">`, `<a href="[x?a=1&amp;b=2&amp;copy=3]" data-r="&gt;=3.7">`},
		{"kept in its spelling", `<a href="&#107;eep" x='>'>`, `<a href="&#107;eep" x='>'>`},
		{"angle in a value", `<a data-requires-python=">=3" href="x">`, `<a data-requires-python=">=3" href="[x]">`},
		{"another attribute", `<a data-href="x" hrefs=y>`, `<a data-href="x" hrefs=y>`},
		{"twice", `<a href="x" href="y">`, `<a href="[x]" href="[y]">`},
		{"no value", `<a href><a href=><a>`, `<a href><a href="[]"><a>`},
		{"another tag", `<ab href="x"><img href="y">`, `<ab href="x"><img href="y">`},
		{"self-closing", `<a href="x"/>`, `<a href="[x]"/>`},
		{"comment", `<!-- <a href="x"> --><a href="y"><!--><a href="z">`, `<!-- <a href="x"> --><a href="[y]"><!--><a href="[z]">`},
		{"script", `<script>if (a<b) "<a href='x'>"</script><a href="y"><STYLE><a href="x"></style>`,
			`<script>if (a<b) "<a href='x'>"</script><a href="[y]"><STYLE><a href="x"></style>`},
		{"doctype", `<!DOCTYPE html><?x <a?><a href="y">`, `<!DOCTYPE html><?x <a?><a href="[y]">`},
		{"dropped", `<head><base href="x"><a href="y">`, `<head><a href="[y]">`},
		{"across the buffer", long + `<a href="` + long + `" data-x=y>` + long, long + `<a href="[` + long + `]" data-x=y>` + long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, src := range []io.Reader{strings.NewReader(tt.in), iotest.HalfReader(strings.NewReader(tt.in)), iotest.OneByteReader(strings.NewReader(tt.in))} {
				var got strings.Builder
				require.NoError(t, hub.CopyHTML(&got, src, tagged, "a", "base"))
				assert.Equal(t, tt.want, got.String())
			}
		})
	}
}

func TestCopyHTMLErrors(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"cut in a tag", `<a href="x"`}, {"cut in a value", `<a href="x`}, {"cut in a comment", `<!-- x`}, {"cut in an end tag", `</a`},
		{"a tag without end", `<a href="` + strings.Repeat("x", 3<<20)}, {"attributes without end", `<a` + strings.Repeat(" b", 100_000) + `>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Error(t, hub.CopyHTML(io.Discard, strings.NewReader(tt.in), tagged, "a"))
		})
	}
	err := hub.CopyHTML(io.Discard, io.MultiReader(strings.NewReader("<a>"), iotest.ErrReader(errors.New("cut"))), tagged, "a")
	assert.ErrorContains(t, err, "cut")
	wrong := errors.New("wrong")
	err = hub.CopyHTML(io.Discard, strings.NewReader("<a>"), func(*hub.Tag) error { return wrong }, "a")
	assert.ErrorIs(t, err, wrong)
}

func TestTagAttr(t *testing.T) {
	err := hub.CopyHTML(io.Discard, strings.NewReader(`<a HREF=1 href="2&lt;" data-x>`), func(tag *hub.Tag) error {
		v, ok := tag.Attr("href")
		assert.Equal(t, "2<", v)
		assert.True(t, ok)
		v, ok = tag.Attr("data-x")
		assert.Empty(t, v)
		assert.True(t, ok)
		_, ok = tag.Attr("x")
		assert.False(t, ok)
		return nil
	}, "a")
	require.NoError(t, err)
}

// What is not edited is copied byte by byte, and an edit finds what it wrote.
func FuzzCopyHTML(f *testing.F) {
	for _, seed := range []string{
		`<a href="x" data-y='z' b=c>t</a>`, "<!-- a --><!x><?y?></z>", "<script><a></script>", "<a\n=\"=>", "<a href=x&amp;y;/>", "< a><<a>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var same, marked bytes.Buffer
		if hub.CopyHTML(&same, iotest.OneByteReader(bytes.NewReader(in)), func(tag *hub.Tag) error {
			tag.Map("href", func(v string) string { return v })
			return nil
		}, "a") != nil {
			return
		}
		require.Equal(t, string(in), same.String())
		links := 0
		require.NoError(t, hub.CopyHTML(&marked, bytes.NewReader(in), func(tag *hub.Tag) error {
			tag.Map("href", func(string) string { links++; return `/a?"'<>&x=1#` })
			return nil
		}, "a"))
		require.NoError(t, hub.CopyHTML(io.Discard, &marked, func(tag *hub.Tag) error {
			tag.Map("href", func(v string) string { links--; assert.Equal(t, `/a?"'<>&x=1#`, v); return v })
			return nil
		}, "a"))
		require.Zero(t, links)
	})
}

func BenchmarkCopyHTML(b *testing.B) {
	var page bytes.Buffer
	for n := 0; page.Len() < 40<<20; n++ {
		fmt.Fprintf(&page, `    <a href="https://files.example.org/packages/ab/cd/%060x/demo-1.0.%d-cp311-cp311-manylinux_2_17_x86_64.whl#sha256=%064x" `+
			`data-requires-python="&gt;=3.7" data-dist-info-metadata="sha256=%064x" data-core-metadata="sha256=%064x">demo-1.0.%d-cp311-cp311-manylinux_2_17_x86_64.whl</a><br />`+"\n",
			n, n, n, n, n, n)
	}
	b.SetBytes(int64(page.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := hub.CopyHTML(io.Discard, bytes.NewReader(page.Bytes()), func(tag *hub.Tag) error {
			tag.Map("href", func(v string) string { return v[5:] })
			return nil
		}, "a"); err != nil {
			b.Fatal(err)
		}
	}
}
