package filter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type mockOptions struct {
	Rules []mockRule `yaml:"rules,required"` // the first whose path matches answers
}

type mockRule struct {
	Path   *regexp.Regexp `yaml:"path,omitzero"` // below the mount, unanchored; none: every path
	Answer canned         `yaml:"answer"`
}

// canned is an answer of the configuration's own.
type canned struct {
	Status  int               `yaml:"status,omitzero"` // 0: 200
	Headers map[string]string `yaml:"headers,omitzero"`
	Body    string            `yaml:"body,omitzero"`
}

func (c *canned) check(at string, reject func(path, format string, args ...any)) {
	if c.Status != 0 && (c.Status < 200 || c.Status > 599) {
		reject(at+"status", "%d is no status from 200 to 599", c.Status)
	}
	edit := HeaderEdit{Set: c.Headers}
	edit.check(at+"headers", framing, func(path, format string, args ...any) { reject(at+"headers", format, args...) })
}

// response is the answer to req.
func (c *canned) response(req *exchange.Request, detail string) *exchange.Response {
	e := &exchange.Entry{Key: req.Key, Status: c.Status, Header: http.Header{}, Size: int64(len(c.Body))}
	if e.Status == 0 {
		e.Status = http.StatusOK
	}
	e.Header.Set("Content-Type", "text/plain; charset=utf-8")
	for name, value := range c.Headers {
		e.Header.Set(name, value)
	}
	body := []byte(c.Body)
	if req.Head {
		body = nil
	}
	return &exchange.Response{Entry: e, Body: content{bytes.NewReader(body)}, Outcome: exchange.Outcome{Detail: detail}}
}

// content is a body at hand.
type content struct{ io.ReadSeeker }

func (content) Close() error { return nil }

// Check implements [Checker].
func (o *mockOptions) Check(reject func(path, format string, args ...any)) {
	for i := range o.Rules {
		o.Rules[i].Answer.check(fmt.Sprintf("rules[%d].answer.", i), reject)
	}
}

// Mock is the kind that answers by itself. Its result is mocked.
func Mock() Kind {
	return Define("answers by itself", []Result{{Name: "mocked"}},
		mockOptions{}, func(o mockOptions, _ Env) (Filter, error) { return &mock{o}, nil })
}

type mock struct{ mockOptions }

func (m *mock) Handle(_ context.Context, x *Exchange) string {
	for i := range m.Rules {
		if r := &m.Rules[i]; r.Path == nil || r.Path.MatchString(x.Request.Key.Path) {
			x.Answer(r.Answer.response(x.Request, "mocked"))
			return "mocked"
		}
	}
	return ""
}

func (m *mock) Status() any { return nil }

type fallbackOptions struct {
	Statuses []int  `yaml:"statuses,single"` // that it stands in for; none: 500 to 599
	Answer   canned `yaml:"answer"`
}

// Check implements [Checker].
func (o *fallbackOptions) Check(reject func(path, format string, args ...any)) {
	for _, status := range o.Statuses {
		if status < 400 || status > 599 {
			reject("statuses", "%d is no status from 400 to 599", status)
		}
	}
	o.Answer.check("answer.", reject)
}

// Fallback is the kind that answers instead of a failure. It stands behind the
// cache. Its result is fallback.
func Fallback() Kind {
	return Define("answers instead of a failure", []Result{{Name: "fallback"}},
		fallbackOptions{}, func(o fallbackOptions, _ Env) (Filter, error) { return &fallback{o}, nil })
}

type fallback struct{ fallbackOptions }

func (f *fallback) Handle(_ context.Context, x *Exchange) string {
	status := x.Status()
	stands := status >= 500
	if len(f.Statuses) > 0 {
		stands = false
		for _, s := range f.Statuses {
			stands = stands || s == status
		}
	}
	if !stands {
		return ""
	}
	x.Answer(f.Answer.response(x.Request, "fallback"))
	return "fallback"
}

func (f *fallback) Status() any { return nil }
