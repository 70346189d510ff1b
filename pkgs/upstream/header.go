package upstream

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// maxStored is how large the header of an entry may be.
const maxStored = 16 << 10

// hopByHop reports whether a field concerns one connection only (RFC 9110 §7.6.1).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "Http2-Settings":
		return true
	}
	return false
}

// dropped reports whether a field of a mirror's response goes no further: it
// speaks to one client, about another origin than ours, to a server in front of
// us, or of framing that is made anew. Underscores count as hyphens, as some
// servers read them. A name with a space, which net/http lets through as it was
// spelled, is no token (RFC 9110 §5.1) and compares with nothing.
func dropped(name string) bool {
	if strings.Contains(name, " ") {
		return true
	}
	if strings.Contains(name, "_") {
		name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	switch name {
	case "Content-Length", "Content-Range", // Entry.Size says it; the content is whole
		"Set-Cookie", "Set-Cookie2", "Www-Authenticate", "Authentication-Info",
		"Strict-Transport-Security", "Alt-Svc", "Clear-Site-Data", "Refresh", "Location",
		"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override",
		"Cache-Status", "X-Cache", "X-Cache-Upstream": // we say our own; a stored one would speak of the past
		return true
	}
	for _, prefix := range [...]string{"Access-Control-", "Service-Worker-", "Public-Key-", "X-Accel-", "X-Sendfile"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return hopByHop(name)
}

// receive is what of a response's header is kept: its end-to-end fields as the
// origin sent them, Age and Date among them. named are the fields that belong
// to the connection besides.
func receive(header http.Header, named []string) (http.Header, error) {
	kept := make(http.Header, len(header))
	size := 0
	for name, values := range header {
		if dropped(name) || slices.ContainsFunc(named, func(n string) bool { return strings.EqualFold(n, name) }) {
			continue
		}
		kept[name] = values
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	if size > maxStored {
		return nil, fmt.Errorf("header of %d bytes: at most %d are stored", size, maxStored)
	}
	return kept, nil
}

// neverStore reports whether a response is for one client only, or says that
// nobody keeps it (RFC 9111 §3).
func neverStore(header http.Header) bool {
	if len(header["Set-Cookie"]) > 0 {
		return true
	}
	for _, v := range header["Cache-Control"] {
		for directive := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(directive, "=") // private="field" is private to us (§5.2.2.7)
			name = strings.TrimSpace(name)
			if strings.EqualFold(name, "no-store") || strings.EqualFold(name, "private") {
				return true
			}
		}
	}
	return false
}
