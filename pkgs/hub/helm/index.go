package helm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/yaml"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A copier copies one index.
type copier struct {
	*hub.Copy
	hub *Hub
	up  string // from the index to the hub's root: "../" for each folder

	paths  []string // of one version of a chart: where the hub has it
	digest string   // and its content
	found  bool     // entries, whatever is in it
}

// maxLinks is how many links of one version are remembered.
const maxLinks = 16

var errNone = errors.New("an index without entries")

// copy copies an index from src to dst. An index is a YAML text, or a JSON one.
func (x *copier) copy(dst io.Writer, src io.Reader) error {
	rules := yaml.Rules{
		"entries/":           func(string) string { x.found = true; return "" },
		"entries/*/*/":       x.end,
		"entries/*/*/digest": func(s string) string { x.digest = s; return s },
		"entries/*/*/urls/*": x.link,
	}
	in := bufio.NewReaderSize(src, yaml.MaxLine)
	head, err := in.Peek(512)
	if err != nil && err != io.EOF {
		return err
	}
	if head = bytes.TrimLeft(head, "\ufeff \t\r\n"); len(head) > 0 && head[0] == '{' {
		err = hub.CopyJSON(dst, in, inJSON(rules))
	} else {
		err = yaml.Copy(dst, in, rules)
	}
	if err == nil && !x.found {
		err = errNone
	}
	return err
}

// inJSON are rules for a JSON text.
func inJSON(rules yaml.Rules) hub.JSONRules {
	all := hub.JSONRules{}
	for path, f := range rules {
		all[path] = func(value []byte) ([]byte, error) {
			s, _ := hub.JSONString(value) // of an end, and of what is no string, ""
			if changed := f(s); changed != s {
				return hub.AppendJSONString(nil, changed), nil
			}
			return value, nil
		}
	}
	return all
}

// link is what is written for a link of the index. A relative one leads to the hub
// by itself, and Helm takes the query off those.
func (x *copier) link(s string) string {
	if s == "" {
		return s
	}
	path, ok := x.Map(s)
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
		return x.Base + path
	}
	return x.up + path[1:]
}

// end is that of one version.
func (x *copier) end(string) string {
	digest, err := exchange.ParseDigest("sha256:" + strings.ToLower(strings.TrimPrefix(x.digest, "sha256:")))
	if err == nil && x.Teach != nil {
		for _, path := range x.paths {
			if req, ok := hub.Follow(x.hub, path); ok && req.Policy.Class == freshness.Immutable {
				x.Teach(req.Key.Path, exchange.Fact{Digest: digest})
			}
		}
	}
	x.paths, x.digest = x.paths[:0], ""
	return ""
}
