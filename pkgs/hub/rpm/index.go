package rpm

import (
	"bytes"
	"encoding/xml"
	"io"
	"path"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/xmltokens"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// learn reads an index behind the client.
func (h *Hub) learn(next exchange.Source, req *exchange.Request, resp *exchange.Response) {
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
	h.opts.Learn(next, req, resp, root, func(plain io.Reader, teach hub.Teach) error {
		away := 0
		err := read(plain, func(href string, f exchange.Fact) {
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
	t := xmltokens.NewReader(r)
	if err := t.Root("metadata"); err != nil {
		return err
	}
	var f file
	for {
		token, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch depth := len(t.Path); {
			case depth == 2: // package
				f = file{}
			case depth > 3: // of its format
			case e.Name.Local == "checksum":
				f.algorithm = xmltokens.Attr(e, "type")
			case e.Name.Local == "size":
				f.fact.Size, _ = strconv.ParseInt(xmltokens.Attr(e, "package"), 10, 64)
			case e.Name.Local == "location":
				f.place(e)
			}
		case xml.CharData:
			if len(t.Path) == 3 && t.Path[2] == "checksum" {
				f.fact.Digest = digest(f.algorithm, e)
			}
		case xml.EndElement:
			switch {
			case len(t.Path) != 1:
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
	f.href, f.base = xmltokens.Attr(e, "href"), xmltokens.Attr(e, "base")
}

// readDeltas reads prestodelta.xml.
func readDeltas(r io.Reader, teach func(href string, f exchange.Fact)) error {
	t := xmltokens.NewReader(r)
	if err := t.Root("prestodelta"); err != nil {
		return err
	}
	var f file
	var text []byte
	for {
		token, err := t.Next()
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
				f.algorithm = xmltokens.Attr(e, "type")
			}
		case xml.CharData:
			text = xmltokens.Gather(text, e)
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
	t := xmltokens.NewReader(r)
	if err := t.Root("repomd"); err != nil {
		return nil, err
	}
	md := &repomd{members: map[string]exchange.Fact{}}
	var f file
	var text []byte
	for {
		token, err := t.Next()
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
			case len(t.Path) == 2:
				f = file{}
			case e.Name.Local == "checksum":
				f.algorithm = xmltokens.Attr(e, "type")
			case e.Name.Local == "location":
				f.place(e)
			}
		case xml.CharData:
			text = xmltokens.Gather(text, e)
		case xml.EndElement:
			value := string(bytes.TrimSpace(text))
			switch {
			case len(t.Path) == 1 && e.Name.Local == "revision":
				md.revision, _ = strconv.ParseInt(value, 10, 64)
			case len(t.Path) == 1 && e.Name.Local == "data":
				if f.local() && len(md.members) < maxMembers {
					md.members[f.href] = f.fact
				}
			case len(t.Path) == 2 && e.Name.Local == "checksum":
				f.fact.Digest = digest(f.algorithm, text)
			case len(t.Path) == 2 && e.Name.Local == "size":
				f.fact.Size, _ = strconv.ParseInt(value, 10, 64)
			}
			text = text[:0]
		}
	}
}
