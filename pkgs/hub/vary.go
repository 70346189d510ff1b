package hub

import (
	"net/http"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Vary is resp with field among those that select a representation (RFC 9110
// §12.5.5), whether the origin says so or not. It takes resp over; nil is nil.
func Vary(resp *exchange.Response, field string) *exchange.Response {
	if resp == nil {
		return nil
	}
	for _, line := range resp.Entry.Header["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, field) {
				return resp
			}
		}
	}
	e := *resp.Entry
	e.Header = e.Header.Clone()
	if e.Header == nil {
		e.Header = http.Header{}
	}
	e.Header["Vary"] = append(slices.Clip(e.Header["Vary"]), field)
	r := *resp
	r.Entry = &e
	return &r
}
