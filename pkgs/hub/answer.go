package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// WithField is resp with value in place of what the origin has sent in a field, or
// without the field if value is "". It takes resp over.
func WithField(resp *exchange.Response, name, value string) *exchange.Response {
	own, e := *resp, *resp.Entry
	if e.Header = e.Header.Clone(); e.Header == nil {
		e.Header = http.Header{}
	}
	e.Header.Del(name)
	if value != "" {
		e.Header.Set(name, value)
	}
	own.Entry = &e
	return &own
}

// WithTag is resp with the entity tag that is the sum of digest in hexadecimal, or with
// none if digest is "". It takes resp over.
func WithTag(resp *exchange.Response, digest exchange.Digest) *exchange.Response {
	if digest == "" {
		return WithField(resp, "Etag", "")
	}
	return WithField(resp, "Etag", `"`+digest.Hex()+`"`)
}

// Moved is an answer that nobody was asked for: it sends the client on to location,
// which is relative to what it asks for, since the links there count from a slash.
func Moved(req *exchange.Request, location string) *exchange.Response {
	const text = "it is at the path with a slash\n"
	header := http.Header{"Location": {location}, "Content-Type": {"text/plain; charset=utf-8"}}
	return &exchange.Response{
		Entry: &exchange.Entry{Key: req.Key, Status: http.StatusMovedPermanently, Header: header, Size: int64(len(text))},
		Body:  io.NopCloser(strings.NewReader(text)),
	}
}

// Within is req, which only what is no older than age answers without a question to
// upstream: 0 is to validate what is stored, [freshness.Forever] is to take it.
func Within(req *exchange.Request, age time.Duration) *exchange.Request {
	req = req.Clone()
	req.Policy.TTL = age
	return req
}

// Whole is req for the content too, where it was for the head alone.
func Whole(req *exchange.Request) *exchange.Request {
	if !req.Head {
		return req
	}
	req = req.Clone()
	req.Head = false
	return req
}

// Missing says that a status means that there is nothing.
func Missing(status int) bool {
	return status == http.StatusNotFound || status == http.StatusGone
}

// Consult asks source for req, an index by which something else is decided, and has
// read read it, unpacked; from is where it was. An answer of another status than 200
// is not read; of all the Body is closed. What cannot be read is an
// [*exchange.Error] of 502.
func Consult(ctx context.Context, source exchange.Source, req *exchange.Request, read func(r io.Reader, from *url.URL) error) (*exchange.Response, error) {
	resp, err := source.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.Entry.Status != http.StatusOK {
		return resp, nil
	}
	from, err := url.Parse(resp.Entry.Mirror + req.Target)
	if err == nil {
		var plain io.ReadCloser
		if plain, err = Unpack(resp.Body); err == nil {
			defer plain.Close()
			err = read(plain, from)
		}
	}
	if err != nil {
		return nil, &exchange.Error{
			Status:  http.StatusBadGateway,
			Message: "the index from upstream cannot be read",
			Err:     fmt.Errorf("read %v from %s: %w", req.Key, resp.Entry.Mirror, err),
		}
	}
	return resp, nil
}

// Skim is [Consult] of a JSON index for the elements of some of its members, which the
// functions hear as those of [SiftJSON] do; what they return is written nowhere.
func Skim(ctx context.Context, source exchange.Source, req *exchange.Request, hear map[string]func(name string, text []byte) []byte) error {
	_, err := Consult(ctx, source, req, func(r io.Reader, _ *url.URL) error { return SiftJSON(io.Discard, r, hear) })
	return err
}

// JSONRefusal is a [Refuser]'s answer that is v as JSON, of texts and numbers.
func JSONRefusal(contentType string, v any) (string, []byte) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return contentType, append(body, '\n')
}
