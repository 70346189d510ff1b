package pypi

import (
	"net/http"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	jsonType      = "application/vnd.pypi.simple.v1+json"
	htmlType      = "application/vnd.pypi.simple.v1+html"
	integrityType = "application/vnd.pypi.integrity.v1+json"
)

// Variants of a page: "" is HTML.
const asJSON = "json"

// represent makes req one for JSON or HTML. A mirror that has no JSON answers
// the first with HTML, and says so.
func represent(req *exchange.Request, json bool) {
	req.Key.Variant, req.Header = "", http.Header{"Accept": {"text/html"}}
	if json {
		req.Key.Variant = asJSON
		req.Header = http.Header{"Accept": {jsonType + ", " + htmlType + "; q=0.1, text/html; q=0.01"}}
	}
}

// wantsJSON says whether a client prefers it. HTML is for those that do not say,
// as it was before there was a choice (PEP 691).
func wantsJSON(accept []string) bool {
	var json, html float64
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			mediaType, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(mediaType)) {
			case jsonType, "application/vnd.pypi.simple.latest+json":
				json = max(json, quality(params))
			case htmlType, "application/vnd.pypi.simple.latest+html", "text/html", "text/*", "*/*":
				html = max(html, quality(params))
			}
		}
	}
	return json > 0 && json >= html
}

// quality is the weight in the parameters of a media range (RFC 9110 §12.4.2).
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
