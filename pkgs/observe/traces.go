package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceOptions say where spans go.
type TraceOptions struct {
	Endpoint  *url.URL          // of OTLP over HTTP, path included; nil: nowhere
	Headers   map[string]string // sent along
	Percent   int               // of the requests that bring no decision of their own, from 0 to 100
	Propagate bool              // mirrors are sent traceparent (W3C Trace Context)
	Version   string            // of the program
	Log       *slog.Logger      // nil: nothing is logged
}

// Traces are spans of requests and of what is asked of mirrors for them. The nil
// Traces makes none, and costs nothing. It is safe for concurrent use, and is no
// global: other users of OpenTelemetry in the process do not meet it.
type Traces struct {
	tracer    trace.Tracer
	provider  *sdk.TracerProvider
	propagate bool
}

// fields read and write traceparent and tracestate.
var fields propagation.TraceContext

// NewTraces is nil if there is no endpoint. Nothing is sent before there are spans;
// an endpoint that cannot be reached costs spans, and a line of the log.
func NewTraces(o TraceOptions) (*Traces, error) {
	if o.Endpoint == nil {
		return nil, nil
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(o.Endpoint.String()), otlptracehttp.WithHeaders(o.Headers))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(&reporting{SpanExporter: exporter, log: o.Log}),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(float64(o.Percent)/100))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "cache-proxy"), attribute.String("service.version", o.Version))),
	)
	return &Traces{tracer: provider.Tracer("cache-proxy"), provider: provider, propagate: o.Propagate}, nil
}

// Close sends what is left, until ctx is done.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// A Span is what was done for one request. The nil Span is none.
type Span struct {
	span   trace.Span
	method string
}

// Request begins the span of a client's request. One that says what trace it
// belongs to is part of that, and as that is sampled.
func (t *Traces) Request(r *http.Request) (*http.Request, *Span) {
	if t == nil {
		return r, nil
	}
	ctx := fields.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path)))
	return r.WithContext(ctx), &Span{span, r.Method}
}

// End ends a request's span. failure "" is none.
func (s *Span) End(hub string, hit bool, failure string) {
	if s == nil {
		return
	}
	s.span.SetName(s.method + " " + hub)
	s.span.SetAttributes(attribute.String("cache_proxy.hub", hub), attribute.Bool("cache_proxy.hit", hit))
	if failure != "" {
		s.span.SetStatus(codes.Error, failure)
	}
	s.span.End()
}

// Carry makes what is done with to part of the trace that from is in. A transfer
// outlives the request that began it, so it has not its context, but its trace.
func (t *Traces) Carry(to, from context.Context) context.Context {
	if t == nil {
		return to
	}
	return trace.ContextWithSpanContext(to, trace.SpanContextFromContext(from))
}

// Transport makes a span of each request to a mirror, which ends with its body: a
// race has one for each candidate, and why it ended early says who lost.
func (t *Traces) Transport(hub, mirror string, next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return &traced{t, hub, mirror, next}
}

type traced struct {
	traces      *Traces
	hub, mirror string
	next        http.RoundTripper
}

func (t *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.traces.tracer.Start(r.Context(), "candidate", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("cache_proxy.hub", t.hub), attribute.String("cache_proxy.mirror", t.mirror),
		attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path)))
	r = r.Clone(ctx)
	if t.traces.propagate {
		fields.Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	res, err := t.next.RoundTrip(r)
	if err != nil {
		end(ctx, span, 0, err)
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
	span.AddEvent("head")
	body := &tracedBody{ReadCloser: res.Body, ctx: ctx, span: span}
	res.Body = body
	return res, nil
}

// end ends a candidate's span.
func end(ctx context.Context, span trace.Span, bytes int64, err error) {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	span.SetAttributes(attribute.Int64("cache_proxy.bytes", bytes))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// tracedBody ends a span with the body that it counts.
type tracedBody struct {
	io.ReadCloser
	ctx   context.Context // of this request alone
	span  trace.Span
	bytes int64
	once  sync.Once
}

func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	switch {
	case err == io.EOF:
		b.once.Do(func() { end(b.ctx, b.span, b.bytes, nil) })
	case err != nil:
		b.once.Do(func() { end(b.ctx, b.span, b.bytes, err) })
	}
	return n, err
}

func (b *tracedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { end(b.ctx, b.span, b.bytes, context.Cause(b.ctx)) })
	return err
}

// reporting says in the log that spans are lost: once, until some are not.
type reporting struct {
	sdk.SpanExporter
	log *slog.Logger

	mu     sync.Mutex
	failed bool // guarded by mu
}

func (r *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && !r.failed {
		r.log.Warn("spans are lost: the collector does not take them", "err", err)
	}
	r.failed = err != nil
	return nil // else the SDK says it too, to a global of its own
}
