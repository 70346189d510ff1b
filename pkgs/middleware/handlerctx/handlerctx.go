// Package handlerctx is the middleware that says which handler a request is
// for, before it gets there: in the request's context and in its Pattern, where
// [http.ServeMux] would leave it. It routes nothing itself.
package handlerctx

import (
	"context"
	"net/http"
)

type key struct{}

// New returns the middleware. match is asked once a request; it returns the
// pattern that the request matches, such as "GET /".
func New(match func(*http.Request) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			pattern := match(r)
			r = r.WithContext(context.WithValue(r.Context(), key{}, pattern))
			r.Pattern = pattern
			next.ServeHTTP(w, r)
		})
	}
}

// Pattern is what match said of the request whose context this is; "" outside of one.
func Pattern(ctx context.Context) string {
	pattern, _ := ctx.Value(key{}).(string)
	return pattern
}
