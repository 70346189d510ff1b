package freshness

import (
	"net/http"
	"strings"
)

// NotModified evaluates the conditions of a GET or HEAD that a cache may answer
// itself against a stored response (RFC 9111 §4.3.2, RFC 9110 §13.2.2): whether
// 304 says all. If-Match and If-Unmodified-Since are for the origin alone.
func (s Stored) NotModified(request http.Header) bool {
	if lines, ok := request["If-None-Match"]; ok {
		return tagged(lines, s.Header.Get("Etag"))
	}
	since, ok := ParseDate(request.Get("If-Modified-Since"), s.Received)
	if !ok || len(request["If-Modified-Since"]) > 1 {
		return false
	}
	modified, ok := ParseDate(s.Header.Get("Last-Modified"), s.Received)
	if !ok {
		if s.Header["Last-Modified"] != nil {
			return false
		}
		modified = s.Date() // as it was then, it was no later than that
	}
	return !modified.After(since)
}

// tagged says whether a list of entity tags, or "*", has the tag, compared weakly
// (RFC 9110 §8.8.3.2). What is no entity tag matches if it is the very same text.
func tagged(lines []string, etag string) bool {
	weak := strings.TrimPrefix(etag, "W/")
	var members []string
	for _, line := range lines {
		if line = strings.Trim(line, " \t"); line == "*" || line == etag && etag != "" {
			return true
		}
		members = splitList(members, line)
	}
	for _, m := range members {
		if m == etag && etag != "" || strings.TrimPrefix(m, "W/") == weak && strings.HasPrefix(weak, `"`) {
			return true
		}
	}
	return false
}

// Strong reports whether etag is a strong entity tag (RFC 9110 §8.8.3).
func Strong(etag string) bool {
	return len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"'
}
