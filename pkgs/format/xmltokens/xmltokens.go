// Package xmltokens reads XML (https://www.w3.org/TR/xml/) token by token within
// bounds: foreign documents of any length, of which little is wanted. Names come
// without name spaces; entities that a document declares itself are an error.
package xmltokens

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds: what one token may need of the input, in bytes, and how deep elements may lie.
const (
	MaxToken = 1 << 20
	MaxDepth = 32

	maxText = 4 << 10 // bytes of the text of one element that Gather keeps
)

// Errors of documents beyond the bounds.
var (
	ErrToken = errors.New("xml: a token is too long")
	ErrDepth = errors.New("xml: elements lie too deep")
)

// A Reader reads the tokens of one document. It is for one goroutine.
type Reader struct {
	// Path are the names of open elements, the outermost first. To be read alone.
	Path []string

	in  *allowance
	dec *xml.Decoder
}

// NewReader reads the document that r is, in UTF-8 or ASCII.
func NewReader(r io.Reader) *Reader {
	in := &allowance{r: r}
	d := xml.NewDecoder(in)
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("xml: charset %q", charset)
	}
	return &Reader{in: in, dec: d}
}

// allowance reads as much of r as is left.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, ErrToken
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// Next is the next token; it is valid until the one after it. The start of an element
// is followed by its end, also where the two are one. At the end of a document that is
// whole the error is [io.EOF].
func (r *Reader) Next() (xml.Token, error) {
	// Elements are matched here, since RawToken does not.
	r.in.left = MaxToken
	token, err := r.dec.RawToken()
	switch e := token.(type) {
	case xml.StartElement:
		if r.Path = append(r.Path, e.Name.Local); len(r.Path) > MaxDepth {
			return nil, ErrDepth
		}
	case xml.EndElement:
		if len(r.Path) == 0 || r.Path[len(r.Path)-1] != e.Name.Local {
			return nil, fmt.Errorf("xml: </%s> without its start", e.Name.Local)
		}
		r.Path = r.Path[:len(r.Path)-1]
	}
	if err == io.EOF && len(r.Path) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return token, err
}

// Offset is how much of the document has been read as tokens, in bytes.
func (r *Reader) Offset() int64 { return r.dec.InputOffset() }

// Root reads the first element's start; the element must have this name.
func (r *Reader) Root(name string) error {
	for {
		token, err := r.Next()
		if err == io.EOF {
			return fmt.Errorf("xml: no <%s>", name)
		}
		if err != nil {
			return err
		}
		if e, ok := token.(xml.StartElement); ok {
			if e.Name.Local != name {
				return fmt.Errorf("xml: <%s> where <%s> should be", e.Name.Local, name)
			}
			return nil
		}
	}
}

// Attr is an attribute of e, by its local name; "" if there is none.
func Attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// Gather adds to the text of an element, which comments may cut in pieces, up to 4 KiB.
func Gather(text []byte, more xml.CharData) []byte {
	return append(text, more[:min(len(more), maxText-len(text))]...)
}
