// Package handlerctx is the middleware that gives every request its record: an
// id, and what it is for, before it gets there. The pattern stands in the
// request's Pattern too, where [http.ServeMux] would leave it. It routes nothing
// itself.
package handlerctx

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
)

// A Record is what is known of one request. It belongs to the goroutine that
// serves it.
type Record struct {
	ID      string       // of the client's X-Request-ID, or made
	Pattern string       // such as "GET /"
	Handler http.Handler // that answers
	URL     *url.URL     // as that handler sees it

	Hub, Module, Rollout string // "" if it is for no hub

	// Of the answer, once its head is known.
	CacheHit       bool
	UpstreamStatus int    // 0 if upstream did not answer
	Error          string // a word for the log; "" if there is none
}

type key struct{}

// New returns the middleware. match is asked once a request, to fill the record.
// The response's X-Request-ID is the request's, if it sent one that is fit for a
// log, else a new one.
func New(match func(*http.Request, *Record)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &Record{}
			if sent := r.Header["X-Request-Id"]; len(sent) == 1 && fit(sent[0]) {
				rec.ID = sent[0]
			} else {
				rec.ID = strconv.FormatUint(rand.Uint64(), 36)
			}
			w.Header()["X-Request-Id"] = []string{rec.ID}
			match(r, rec)
			r = r.WithContext(context.WithValue(r.Context(), key{}, rec))
			r.Pattern = rec.Pattern
			next.ServeHTTP(w, r)
		})
	}
}

// From is the record of the request whose context this is; outside of one, a
// record of nothing.
func From(ctx context.Context) *Record {
	if rec, _ := ctx.Value(key{}).(*Record); rec != nil {
		return rec
	}
	return &Record{}
}

// fit says whether an id is short and plain.
func fit(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' && c != ':' && c != '/' && c != '+' && c != '=' {
			return false
		}
	}
	return id != "" && len(id) <= 128
}
