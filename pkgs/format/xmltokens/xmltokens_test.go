package xmltokens

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// texts are the texts of elements, by their paths, of a document with this root.
func texts(r io.Reader, root string) (all map[string]string, err error) {
	t := NewReader(r)
	if err := t.Root(root); err != nil {
		return nil, err
	}
	all = map[string]string{}
	var text []byte
	for {
		token, err := t.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			text = text[:0]
			if kind := Attr(e, "type"); kind != "" {
				all[strings.Join(t.Path, "/")+"@"] = kind
			}
		case xml.CharData:
			text = Gather(text, e)
		case xml.EndElement:
			all[strings.Join(append(t.Path, e.Name.Local), "/")] = string(text)
			text = text[:0]
		}
	}
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", 2*maxText)
	got, err := texts(strings.NewReader(`<?xml version="1.0" encoding="US-ASCII"?><!-- x -->
<a xmlns:x="y"><x:b x:type="z">1<!-- - -->2</x:b><c/><d>`+long+`</d></a>`), "a")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "", "a/b": "12", "a/b@": "z", "a/c": "", "a/d": long[:maxText]}, got)
}

func TestReaderRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"another root":    "<html></html>",
		"cut":             "<a><b></b>",
		"crossed":         "<a><b></a></b>",
		"an end too many": "<a></a></a>",
		"deep":            "<a>" + strings.Repeat("<b>", MaxDepth),
		"another charset": `<?xml version="1.0" encoding="EBCDIC"?><a></a>`,
		"an entity":       `<!DOCTYPE x [<!ENTITY y "z">]><a>&y;</a>`,
	} {
		_, err := texts(strings.NewReader(text), "a")
		assert.Error(t, err, name)
	}
}

// endless is a text without end.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += len(p)
	return len(p), nil
}

func TestReaderBounds(t *testing.T) {
	for _, begin := range []string{"<a>", "<a", "<a><!--", `<a b="`, "<a>" + strings.Repeat("<b/>", 10)} {
		e := &endless{}
		_, err := texts(io.MultiReader(strings.NewReader(begin), e), "a")
		assert.ErrorContains(t, err, ErrToken.Error(), begin)
		assert.Less(t, e.n, 2*MaxToken, begin)
	}
}

func TestOffset(t *testing.T) {
	r := NewReader(strings.NewReader("<a><b>"))
	require.NoError(t, r.Root("a"))
	assert.EqualValues(t, 3, r.Offset())
}

// FuzzReader: a document that is read to its end has an end for each start.
func FuzzReader(f *testing.F) {
	f.Add("<a><b type='x'>1</b></a>")
	f.Add("<a><![CDATA[x]]><!-- --></a><?x?>")
	f.Fuzz(func(t *testing.T, text string) {
		if all, err := texts(strings.NewReader(text), "a"); err == nil {
			assert.Contains(t, all, "a")
			for p := range all {
				assert.LessOrEqual(t, strings.Count(p, "/"), strings.Count(text, "<"))
			}
		}
	})
}
