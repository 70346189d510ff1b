package helm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// An index is one that is being copied, whose links are changed, or that teaches.
type index struct {
	hub   *Hub
	from  *url.URL // where the index was
	base  string   // of the client
	up    string   // from the index to the hub's root: "../" for each folder
	teach func(path string, f exchange.Fact)

	paths  []string // of one version of a chart: where the hub has it
	digest string   // and its content
}

// maxLinks is how many links of one version are remembered.
const maxLinks = 16

// link is what is written for a link of the index. A relative one leads to the hub
// by itself, and Helm takes the query off those.
func (x *index) link(s string) string {
	path, ok := x.hub.links.Map(s, x.from)
	if !ok {
		return s
	}
	if len(x.paths) < maxLinks {
		x.paths = append(x.paths, path)
	}
	switch {
	case !strings.Contains(s, "://") && !strings.HasPrefix(s, "/"):
		return s
	case strings.Contains(path, "?"):
		return x.base + path
	}
	return x.up + path[1:]
}

// end is that of one version.
func (x *index) end() {
	sum := strings.ToLower(strings.TrimPrefix(x.digest, "sha256:"))
	if digest, err := exchange.ParseDigest("sha256:" + sum); err == nil && x.teach != nil {
		for _, path := range x.paths {
			u, err := url.Parse(path)
			if err != nil {
				continue
			}
			if req, err := x.hub.Parse(&http.Request{URL: u}); err == nil && req.Policy.Class == freshness.Immutable {
				x.teach(req.Key.Path, exchange.Fact{Digest: digest})
			}
		}
	}
	x.paths, x.digest = x.paths[:0], ""
}

// copy copies an index from src to dst, its links as x has them. An index is a YAML
// text, or a JSON one.
func (h *Hub) copy(dst io.Writer, src io.Reader, x *index) error {
	in := bufio.NewReaderSize(src, maxLine)
	head, err := in.Peek(512)
	if err != nil && err != io.EOF {
		return err
	}
	if head = bytes.TrimLeft(head, "\ufeff \t\r\n"); len(head) > 0 && head[0] == '{' {
		return copyJSON(dst, in, x)
	}
	out := bufio.NewWriter(dst)
	return errors.Join(copyYAML(out, in, x), out.Flush())
}

func copyJSON(dst io.Writer, src io.Reader, x *index) error {
	found := false
	each := func(value []byte) ([]byte, error) {
		if s, ok := hub.JSONString(value); ok {
			if mapped := x.link(s); mapped != s {
				return hub.AppendJSONString(nil, mapped), nil
			}
		}
		return value, nil
	}
	err := hub.CopyJSON(dst, src, hub.JSONRules{
		"entries/*/*/urls/*": each,
		"entries/*/*/digest": func(value []byte) ([]byte, error) {
			x.digest, _ = hub.JSONString(value)
			return value, nil
		},
		"entries/*/*/": func([]byte) ([]byte, error) { x.end(); return nil, nil },
		"entries/":     func([]byte) ([]byte, error) { found = true; return nil, nil },
	})
	if err == nil && !found {
		err = errNone
	}
	return err
}

var errNone = errors.New("an index without entries")

const (
	maxLine = 64 << 10 // bytes of a line whose link may be changed; a longer one is copied
	maxKey  = 64       // bytes that such a line is looked at for
)

// copyYAML copies the lines of an index. It is no parser of YAML: in the block style
// in which indexes are written, the column in which a key stands says what it is of,
// and whatever a scalar has in further lines stands deeper.
func copyYAML(dst *bufio.Writer, src *bufio.Reader, x *index) error {
	p := &places{index: x, chart: none, item: none}
	for long := false; ; {
		line, err := src.ReadSlice('\n')
		if len(line) > 0 {
			switch {
			case long: // the rest of one
			case err == bufio.ErrBufferFull:
				p.line(bytes.Clone(line[:maxKey])) // where it stands counts
			default:
				line = p.line(line)
			}
			dst.Write(line) // its errors are sticky
		}
		switch long = err == bufio.ErrBufferFull; {
		case err == io.EOF && !p.found:
			return errNone
		case err == io.EOF:
			x.end()
			return nil
		case err != nil && !long:
			return err
		}
	}
}

// places are the columns of what is around a line; none where there is nothing.
type places struct {
	*index
	found, entries    bool // entries was there; the line is below it
	chart, item, keys int  // of names of charts, dashes of their versions, keys of one
	urls              bool // the line is below the links of a version
}

const none = -1

// line is what is written for one.
func (p *places) line(line []byte) []byte {
	text := bytes.TrimRight(line, " \t\r\n")
	column := len(text) - len(bytes.TrimLeft(text, " "))
	text = text[column:]
	if len(text) == 0 || text[0] == '#' {
		return line
	}
	dash := text[0] == '-' && (len(text) == 1 || text[1] == ' ')
	switch {
	case column == 0 && !dash:
		p.leave()
		p.chart = none
		p.entries = bytes.HasPrefix(text, []byte("entries:"))
		p.found = p.found || p.entries
	case !p.entries:
	case p.chart == none && !dash:
		p.chart = column
	case dash && p.chart != none && (p.item == none || column == p.item):
		p.leave()
		rest := bytes.TrimLeft(text[1:], " ")
		p.item, p.keys = column, column+len(text)-len(rest)
		return p.key(line, rest, p.keys)
	case dash && p.urls && column >= p.keys:
		rest := bytes.TrimLeft(text[1:], " ")
		return p.scalar(line, rest, column+len(text)-len(rest))
	case column == p.chart:
		p.leave()
	case p.item != none && column == p.keys:
		return p.key(line, text, column)
	}
	return line
}

// leave is the end of a version, and of the list of versions.
func (p *places) leave() {
	if p.item != none {
		p.end()
	}
	p.item, p.urls = none, false
}

// key looks at a key of a version and its value, text at column of the line.
func (p *places) key(line, text []byte, column int) []byte {
	key, value, _ := bytes.Cut(text, []byte(":"))
	value = bytes.TrimLeft(value, " ")
	p.urls = false
	switch string(bytes.Trim(key, `"'`)) {
	case "urls":
		p.urls = len(value) == 0 || value[0] == '#'
		if inner, ok := bytes.CutPrefix(value, []byte("[")); ok && bytes.Count(inner, []byte(",")) == 0 {
			if inner, ok = bytes.CutSuffix(inner, []byte("]")); ok { // in flow style, of one link
				inner = bytes.TrimSpace(inner)
				return p.scalar(line, inner, column+bytes.Index(text, inner))
			}
		}
	case "digest":
		p.digest, _ = unquote(value)
	}
	return line
}

// scalar is the line with its link, text at column, as it is to be.
func (p *places) scalar(line, text []byte, column int) []byte {
	s, ok := unquote(text)
	if !ok || s == "" {
		return line
	}
	mapped := p.link(s)
	if mapped == s {
		return line
	}
	changed := hub.AppendJSONString(bytes.Clone(line[:column]), mapped) // JSON's strings are YAML's
	return append(changed, line[column+len(text):]...)
}

// unquote is the string of a scalar on one line, plain or in quotes; false for
// what is another thing.
func unquote(text []byte) (string, bool) {
	if len(text) == 0 {
		return "", true
	}
	switch last := text[len(text)-1]; text[0] {
	case '"', '\'':
		if len(text) == 1 || last != text[0] {
			return "", false
		}
		if last == '"' {
			return hub.JSONString(text)
		}
		return strings.ReplaceAll(string(text[1:len(text)-1]), "''", "'"), true
	case '&', '*', '!', '|', '>', '[', '{', '@', '`', '%':
		return "", false
	}
	return string(text), !bytes.Contains(text, []byte(" #")) && !bytes.Contains(text, []byte(": "))
}
