package rpm

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads an index behind the client.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
	if resp.Entry.Status != http.StatusOK || resp.NoStore || req.Head {
		return
	}
	dir, base := path.Split(req.Key.Path)
	root, below := strings.CutSuffix(dir, "repodata/")
	read := readPrimary
	switch {
	case !below:
		return
	case strings.Contains(base, "primary.xml"):
	case strings.Contains(base, "prestodelta.xml"):
		read = readDeltas
	default:
		return
	}
	h.ledger.Learn(next, req, resp.Entry, root, func(r io.Reader, teach func(string, exchange.Fact)) error {
		plain, err := hub.Unpack(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		away := 0
		err = read(plain, func(href string, f exchange.Fact) {
			if href == "" {
				away++
			} else if p, ok := hub.Canonical(root + href); ok {
				teach(p, f)
			}
		})
		if away > 0 && h.opts.Log != nil {
			// Once for each index: its digest is in repomd.xml, so it cannot be changed.
			h.opts.Log.Warn("packages lie elsewhere, and pass the proxy by", "hub", req.Key.Hub, "key", req.Key.Path, "packages", away)
		}
		return err
	})
}

// Bounds of XML (FAULTS B27): what one token may need of the input, and how deep
// elements may lie.
const (
	maxToken = 1 << 20
	maxDepth = 32
)

var (
	errToken = errors.New("xml: a token is too long")
	errDepth = errors.New("xml: elements lie too deep")
)

// tokens reads XML one token at a time, within bounds.
type tokens struct {
	*xml.Decoder
	in   *allowance
	path []string // of open elements, without name spaces
}

func newTokens(r io.Reader) *tokens {
	in := &allowance{r: r}
	d := xml.NewDecoder(in)
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("xml: charset %q", charset)
	}
	return &tokens{Decoder: d, in: in}
}

// allowance reads as much of r as is left.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errToken
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// next is the next token; it is valid until the one after it. Elements are
// matched here, since RawToken does not: an end without its start is an error.
func (t *tokens) next() (xml.Token, error) {
	t.in.left = maxToken
	token, err := t.RawToken()
	switch e := token.(type) {
	case xml.StartElement:
		if t.path = append(t.path, e.Name.Local); len(t.path) > maxDepth {
			return nil, errDepth
		}
	case xml.EndElement:
		if len(t.path) == 0 || t.path[len(t.path)-1] != e.Name.Local {
			return nil, fmt.Errorf("xml: </%s> without its start", e.Name.Local)
		}
		t.path = t.path[:len(t.path)-1]
	}
	if err == io.EOF && len(t.path) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return token, err
}

// root is the first element, which must have this name.
func (t *tokens) root(name string) error {
	for {
		token, err := t.next()
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

// attr is an attribute of e, by its local name; "" if there is none.
func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// digest is what a checksum of a type says; "" if that is not known. sha is SHA-1.
func digest(algorithm string, sum []byte) exchange.Digest {
	if algorithm == "sha" {
		algorithm = "sha1"
	}
	d, err := exchange.ParseDigest(algorithm + ":" + strings.ToLower(string(bytes.TrimSpace(sum))))
	if err != nil {
		return ""
	}
	return d
}

// maxText is how much text of one element is looked at.
const maxText = 4 << 10

// gather adds to the text of an element, which comments may cut in pieces.
func gather(text []byte, more xml.CharData) []byte {
	return append(text, more[:min(len(more), maxText-len(text))]...)
}

// A file is what an index says of one.
type file struct {
	href, base string
	fact       exchange.Fact
	algorithm  string // of the checksum that is being read
}

// local says that the file lies in the repository.
func (f *file) local() bool { return f.href != "" && f.base == "" && !strings.Contains(f.href, "://") }

// readPrimary reads primary.xml: checksum, package size and place of each package.
// One that lies elsewhere is taught without a place.
func readPrimary(r io.Reader, teach func(href string, f exchange.Fact)) error {
	t := newTokens(r)
	if err := t.root("metadata"); err != nil {
		return err
	}
	var f file
	for {
		token, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch depth := len(t.path); {
			case depth == 2: // package
				f = file{}
			case depth > 3: // of its format
			case e.Name.Local == "checksum":
				f.algorithm = attr(e, "type")
			case e.Name.Local == "size":
				f.fact.Size, _ = strconv.ParseInt(attr(e, "package"), 10, 64)
			case e.Name.Local == "location":
				f.place(e)
			}
		case xml.CharData:
			if len(t.path) == 3 && t.path[2] == "checksum" {
				f.fact.Digest = digest(f.algorithm, e)
			}
		case xml.EndElement:
			switch {
			case len(t.path) != 1:
			case f.local():
				teach(f.href, f.fact)
			case f.href != "":
				teach("", exchange.Fact{})
			}
		}
	}
}

// place takes a location. One with a base lies elsewhere, and is not ours.
func (f *file) place(e xml.StartElement) {
	f.href, f.base = attr(e, "href"), attr(e, "base")
}

// readDeltas reads prestodelta.xml.
func readDeltas(r io.Reader, teach func(href string, f exchange.Fact)) error {
	t := newTokens(r)
	if err := t.root("prestodelta"); err != nil {
		return err
	}
	var f file
	var text []byte
	for {
		token, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.StartElement:
			text = text[:0]
			switch e.Name.Local {
			case "delta":
				f = file{}
			case "checksum":
				f.algorithm = attr(e, "type")
			}
		case xml.CharData:
			text = gather(text, e)
		case xml.EndElement:
			switch e.Name.Local {
			case "filename":
				f.href = string(bytes.TrimSpace(text))
			case "size":
				f.fact.Size, _ = strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
			case "checksum":
				f.fact.Digest = digest(f.algorithm, text)
			case "delta":
				if f.local() {
					teach(f.href, f.fact)
				}
			}
			text = text[:0]
		}
	}
}

// A repomd is what repomd.xml says.
type repomd struct {
	revision int64 // 0 if there is none, or it is no number
	members  map[string]exchange.Fact
}

// maxMembers bounds what one repomd.xml lists; there are some twenty.
const maxMembers = 1000

// readRepomd reads repomd.xml. Members are by their places below the repository.
func readRepomd(r io.Reader) (*repomd, error) {
	t := newTokens(r)
	if err := t.root("repomd"); err != nil {
		return nil, err
	}
	md := &repomd{members: map[string]exchange.Fact{}}
	var f file
	var text []byte
	for {
		token, err := t.next()
		if err == io.EOF {
			return md, nil
		}
		if err != nil {
			return nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			text = text[:0]
			switch {
			case len(t.path) == 2:
				f = file{}
			case e.Name.Local == "checksum":
				f.algorithm = attr(e, "type")
			case e.Name.Local == "location":
				f.place(e)
			}
		case xml.CharData:
			text = gather(text, e)
		case xml.EndElement:
			value := string(bytes.TrimSpace(text))
			switch {
			case len(t.path) == 1 && e.Name.Local == "revision":
				md.revision, _ = strconv.ParseInt(value, 10, 64)
			case len(t.path) == 1 && e.Name.Local == "data":
				if f.local() && len(md.members) < maxMembers {
					md.members[f.href] = f.fact
				}
			case len(t.path) == 2 && e.Name.Local == "checksum":
				f.fact.Digest = digest(f.algorithm, text)
			case len(t.path) == 2 && e.Name.Local == "size":
				f.fact.Size, _ = strconv.ParseInt(value, 10, 64)
			}
			text = text[:0]
		}
	}
}
