package filter

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type requestAdaptorOptions struct {
	Header HeaderEdit `yaml:"header"` // of what mirrors are sent
	Path   pathEdit   `yaml:"path"`   // below the mount
}

// pathEdit changes a path. Replace stands alone; the others come in this order.
type pathEdit struct {
	Replace       string      `yaml:"replace,omitzero"`
	TrimPrefix    string      `yaml:"trim-prefix,omitzero"`
	AddPrefix     string      `yaml:"add-prefix,omitzero"`
	RegexpReplace regexpReply `yaml:"regexp-replace,omitzero"`
}

type regexpReply struct {
	Regexp  *regexp.Regexp `yaml:"regexp,omitzero"`
	Replace string         `yaml:"replace,template,omitzero"` // $1 and ${name} are groups of Regexp
}

// Check implements [Checker].
func (o *requestAdaptorOptions) Check(reject func(path, format string, args ...any)) {
	// What depends on who asks is the cache's; conditions and ranges are of its making.
	o.Header.check("header", slices.Concat(framing, []string{
		"Accept-Encoding", "Authorization", "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
	}), reject)
	p := &o.Path
	for _, prefix := range []struct{ key, value string }{{"replace", p.Replace}, {"trim-prefix", p.TrimPrefix}, {"add-prefix", p.AddPrefix}} {
		if prefix.value != "" && prefix.value[0] != '/' {
			reject("path."+prefix.key, "%q does not begin with a slash", prefix.value)
		}
	}
	if p.Replace != "" && (p.TrimPrefix != "" || p.AddPrefix != "" || p.RegexpReplace.Regexp != nil) {
		reject("path.replace", "not together with others")
	}
	if p.RegexpReplace.Regexp == nil && p.RegexpReplace.Replace != "" {
		reject("path.regexp-replace.regexp", "required")
	}
	if o.Header.empty() && *p == (pathEdit{}) {
		reject("", "changes nothing: neither header nor path")
	}
}

// RequestAdaptor is the kind that changes what is asked for, and what mirrors are
// sent. Its result is invalidPath, where the hub has no path such as it has made.
func RequestAdaptor() Kind {
	return Define("changes path and header fields of requests", []Result{{Name: "invalidPath"}},
		requestAdaptorOptions{}, func(o requestAdaptorOptions, _ Env) (Filter, error) { return &requestAdaptor{o}, nil })
}

type requestAdaptor struct{ requestAdaptorOptions }

func (a *requestAdaptor) Handle(_ context.Context, x *Exchange) string {
	if a.Path != (pathEdit{}) {
		if err := a.path(x); err != nil {
			var stated *exchange.Error
			if !errors.As(err, &stated) {
				stated = &exchange.Error{Status: http.StatusNotFound, Reason: "filter", Err: err}
			}
			x.Refuse(stated)
			return "invalidPath"
		}
	}
	if !a.Header.empty() {
		x.EditRequest(a.Header.apply)
	}
	return ""
}

// path makes x's request that of another path, as the hub reads it. The query of
// the first one stays where the hub lets it count, and so does what filters before
// have done to the request.
func (a *requestAdaptor) path(x *Exchange) error {
	old := x.Request
	if old.Wire != nil || old.Post != nil {
		return &exchange.Error{Status: http.StatusMethodNotAllowed, Message: "what is passed on as it came has no other path", Reason: "filter"}
	}
	before, query, _ := strings.Cut(old.Key.Path, "?")
	to := a.Path.apply(before)
	if to == before {
		return nil
	}
	decoded, err := url.PathUnescape(to) // a key's path is an escaped one
	if err != nil || !strings.HasPrefix(to, "/") {
		return fs.ErrNotExist
	}
	r, err := x.Hub.Parse(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: decoded, RawPath: to, RawQuery: query}, Header: old.Client.Header})
	if err != nil {
		return err
	}
	r.Head, r.Client, r.Sieve = old.Head, old.Client, old.Sieve
	x.Request = r
	for _, edit := range x.edits {
		x.editRequest(edit)
	}
	return nil
}

func (p *pathEdit) apply(path string) string {
	if p.Replace != "" {
		return p.Replace
	}
	if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(p.TrimPrefix, "/")); ok && strings.HasPrefix(rest, "/") {
		path = rest
	}
	path = strings.TrimSuffix(p.AddPrefix, "/") + path
	if re := p.RegexpReplace.Regexp; re != nil {
		path = re.ReplaceAllString(path, p.RegexpReplace.Replace)
	}
	return path
}

func (a *requestAdaptor) Status() any { return nil }

type responseAdaptorOptions struct {
	Header HeaderEdit `yaml:"header"` // of what clients are sent
}

// Check implements [Checker].
func (o *responseAdaptorOptions) Check(reject func(path, format string, args ...any)) {
	o.Header.check("header", slices.Concat(framing, []string{
		"Accept-Ranges", "Age", "Cache-Control", "Cache-Status", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Via",
		"X-Cache", "X-Cache-Upstream", "X-Content-Type-Options", "X-Request-Id",
	}), reject)
	if o.Header.empty() {
		reject("", "changes nothing: no header")
	}
}

// ResponseAdaptor is the kind that changes header fields of responses, wherever in
// a flow it stands.
func ResponseAdaptor() Kind {
	return Define("changes header fields of responses", nil,
		responseAdaptorOptions{}, func(o responseAdaptorOptions, _ Env) (Filter, error) { return &responseAdaptor{o}, nil })
}

type responseAdaptor struct{ responseAdaptorOptions }

func (a *responseAdaptor) Handle(_ context.Context, x *Exchange) string {
	x.After(func() { x.EditHeader(a.Header.apply) })
	return ""
}

func (a *responseAdaptor) Status() any { return nil }
