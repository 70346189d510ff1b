package edge

import (
	"net/http"
	"strings"
)

// precondition evaluates the conditions of a GET or HEAD in the order of RFC
// 9110 §13.2.2 against the validators that the response carries, and returns
// 304, 412, or 200 if the request is to be performed.
func precondition(request, response http.Header) int {
	etag, modified := response.Get("Etag"), response.Get("Last-Modified")
	if match := request["If-Match"]; match != nil {
		if !matches(match, etag, strongEqual) {
			return http.StatusPreconditionFailed
		}
	} else if since := request.Get("If-Unmodified-Since"); since != "" {
		date, err := http.ParseTime(since)
		last, err2 := http.ParseTime(modified)
		if err == nil && err2 == nil && last.After(date) {
			return http.StatusPreconditionFailed
		}
	}
	if match := request["If-None-Match"]; match != nil {
		if matches(match, etag, weakEqual) {
			return http.StatusNotModified
		}
	} else if since := request.Get("If-Modified-Since"); since != "" && sameDate(since, modified) {
		// Equal, not later (§13.1.3 allows it): after a change of mirror the new
		// index may bear the older date.
		return http.StatusNotModified
	}
	return http.StatusOK
}

// ifRange says whether the Range of a request holds (RFC 9110 §13.1.5).
func ifRange(request, response http.Header) bool {
	validator := request.Get("If-Range")
	switch {
	case validator == "":
		return true
	case strings.HasPrefix(validator, `"`), strings.HasPrefix(validator, "W/"):
		return strongEqual(validator, response.Get("Etag"))
	}
	return sameDate(validator, response.Get("Last-Modified"))
}

// sameDate compares two HTTP dates, however they are spelled.
func sameDate(a, b string) bool {
	if a == b {
		return a != ""
	}
	t, err := http.ParseTime(a)
	if err != nil {
		return false
	}
	u, err := http.ParseTime(b)
	return err == nil && t.Equal(u)
}

// matches says whether a list of entity tags, or "*", has etag in it. A list is
// read as far as it is well-formed.
func matches(list []string, etag string, equal func(a, b string) bool) bool {
	for _, line := range list {
		for {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			tag, rest := cutTag(line)
			if tag == "" {
				break
			}
			if equal(tag, etag) {
				return true
			}
			line = rest
		}
	}
	return false
}

// cutTag cuts the entity tag that s begins with (RFC 9110 §8.8.3); "" if there is none.
func cutTag(s string) (tag, rest string) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if len(s) <= start || s[start] != '"' {
		return "", s
	}
	end := strings.IndexByte(s[start+1:], '"')
	if end < 0 {
		return "", s
	}
	end += start + 2
	return s[:end], s[end:]
}

// strongEqual and weakEqual are the comparisons of RFC 9110 §8.8.3.2.
func strongEqual(a, b string) bool { return a == b && strings.HasPrefix(a, `"`) }

func weakEqual(a, b string) bool {
	a = strings.TrimPrefix(a, "W/")
	return a != "" && a == strings.TrimPrefix(b, "W/")
}
