package cacheproxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/middleware/handlerctx"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
)

// Traces is where spans of requests go: OpenTelemetry, OTLP over HTTP. A change
// needs a restart.
type Traces struct {
	// http://127.0.0.1:4318/v1/traces, path and all. Default '': there are none, and
	// nothing of it costs anything.
	Endpoint URL `yaml:"endpoint"`

	Headers map[string]Secret `yaml:"headers"` // sent along, by name. Default none

	// Requests of a hundred that are traced, if they do not say themselves whether
	// (traceparent). Those that memory answers are not. Default 100.
	Percent int `yaml:"percent"`

	// Mirrors are told the trace that a request belongs to (traceparent). Default false.
	Propagate bool `yaml:"propagate"`
}

func (d *decoder) traces(t *Traces) {
	if t.Endpoint.IsSet() && t.Endpoint.Scheme != "http" && t.Endpoint.Scheme != "https" {
		d.reject("traces.endpoint", "scheme %q is neither http nor https", t.Endpoint.Scheme)
	}
	if t.Percent < 0 || t.Percent > 100 {
		d.reject("traces.percent", "must be from 0 to 100")
	}
	for name := range t.Headers {
		if name == "" || strings.ContainsAny(name, ": \t\r\n") {
			d.reject(join("traces.headers", name), "no name of a field")
		}
	}
}

// traceFlush is how long the last spans may take at the end.
const traceFlush = 3 * time.Second

// newTraces are those that a configuration asks for; nil: none.
func (s *Server) newTraces(c *Traces) (*observe.Traces, error) {
	o := observe.TraceOptions{Percent: c.Percent, Propagate: c.Propagate, Version: s.options.Version, Log: s.log, Headers: map[string]string{}}
	if c.Endpoint.IsSet() {
		o.Endpoint = c.Endpoint.URL
	}
	for name, value := range c.Headers {
		o.Headers[name] = value.Value()
	}
	return observe.NewTraces(o)
}

// tracing is h with a span for each request, as far as it is known after h.
func (s *Server) tracing(h http.Handler) http.Handler {
	if s.traces == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, span := s.traces.Request(r)
		defer func() {
			rec := handlerctx.From(r.Context())
			p := recover()
			if p != nil && rec.Error == "" && p != http.ErrAbortHandler {
				rec.Error = handlerPanic
			}
			span.End(rec.Hub, rec.CacheHit, rec.Error)
			if p != nil {
				panic(p)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// carry is the context of a transfer that a request has begun.
func (s *Server) carry(daemon, request context.Context) context.Context {
	return s.traces.Carry(daemon, request)
}

// spans puts a span around each request to a mirror.
func (s *Server) spans(hub string, mirror *url.URL, next http.RoundTripper) http.RoundTripper {
	base := *mirror
	base.User, base.RawQuery = nil, ""
	return s.traces.Transport(hub, base.String(), next)
}
