package edge

import (
	"net/http"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// guard refuses what net/http lets through and no hub should see. On HTTP/1 a
// front has read the request before, and more strictly, since it sees the bytes; on
// HTTP/2 this is all there is. The path itself is the hub's to judge (hub.Path).
func (e *edge) guard(r *http.Request) error {
	if r.ProtoMajor == 2 {
		if err := guardHTTP2(r); err != nil {
			return err
		}
	}
	posts := r.Method == http.MethodPost && e.Poster != nil
	if e.Carrier != nil {
		// CONNECT would be a tunnel, and TRACE shows a client what was added on the way.
		if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
			return refusal(http.StatusMethodNotAllowed, "", "method")
		}
		posts = r.Method != http.MethodGet && r.Method != http.MethodHead
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !posts {
		return refusal(http.StatusMethodNotAllowed, "", "method")
	}
	switch {
	case hasBody(r) && !posts:
		// A GET's body has no meaning (RFC 9110 §9.3.1), but may smuggle a request.
		// Content-Length beside Transfer-Encoding ends here too.
		return refusal(http.StatusBadRequest, "request with a body", "body")
	case len(r.RequestURI) > e.Limits.Target:
		return refusal(http.StatusRequestURITooLong, "", "target")
	case r.RequestURI != "" && r.RequestURI[0] != '/', r.URL.Host != "", r.URL.Scheme != "":
		// An absolute target (RFC 9112 §3.2.2) is for a forward proxy, which this is not.
		return refusal(http.StatusBadRequest, "absolute request target", "target")
	case !validHost(r.Host) && (r.Host != "" || r.ProtoAtLeast(1, 1)):
		return refusal(http.StatusBadRequest, "bad host", "host")
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > e.Limits.Fields {
		return refusal(http.StatusRequestHeaderFieldsTooLarge, "", "fields")
	}
	if e.Via != "" && loops(r.Header["Via"], e.Via) {
		return refusal(http.StatusLoopDetected, "", "loop")
	}
	return nil
}

// guardHTTP2 refuses what a front refuses on HTTP/1 and net/http reads as it likes: a
// method in lower case, a Host beside another :authority (RFC 9113 §8.3.1), and a
// Content-Length that is none, or two (§8.1.1).
func guardHTTP2(r *http.Request) error {
	if strings.ToUpper(r.Method) != r.Method {
		return refusal(http.StatusMethodNotAllowed, "", "method")
	}
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return refusal(http.StatusBadRequest, "two hosts", "host")
	}
	if lengths := r.Header["Content-Length"]; len(lengths) > 1 || len(lengths) == 1 && (lengths[0] == "" || !consists(lengths[0], "0123456789")) {
		return refusal(http.StatusBadRequest, "malformed Content-Length, or two", "content-length")
	}
	return nil
}

func refusal(status int, message, reason string) error {
	return &exchange.Error{Status: status, Message: message, Reason: reason}
}

// hasBody says whether r announces one, of whatever length.
func hasBody(r *http.Request) bool {
	return r.ContentLength != 0 || len(r.TransferEncoding) > 0
}

// loops says whether one of the members of Via was received by us: a member is
// "protocol received-by (comment)", RFC 9110 §7.6.3.
func loops(via []string, self string) bool {
	for _, line := range via {
		for member := range strings.SplitSeq(line, ",") {
			_, by, _ := strings.Cut(strings.TrimLeft(member, " \t"), " ")
			by = strings.TrimLeft(by, " \t")
			if i := strings.IndexAny(by, " \t("); i >= 0 {
				by = by[:i]
			}
			if strings.EqualFold(by, self) {
				return true
			}
		}
	}
	return false
}

// validHost checks host[:port] more strictly than RFC 3986 §3.2.2: what stands
// in it may end up in links, so it is letters, digits, ".-_", or an IPv6 address.
func validHost(host string) bool {
	if host == "" || len(host) > 255+6 {
		return false
	}
	var port string
	if host[0] == '[' {
		end := strings.IndexByte(host, ']')
		if end < 0 || !consists(host[1:end], "0123456789abcdefABCDEF:.") {
			return false
		}
		host, port = host[1:end], host[end+1:]
	} else {
		if i := strings.IndexByte(host, ':'); i >= 0 {
			host, port = host[:i], host[i:]
		}
		if !consists(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") {
			return false
		}
	}
	if port == "" {
		return host != ""
	}
	return host != "" && port[0] == ':' && len(port) <= 6 && consists(port[1:], "0123456789")
}

func consists(s, of string) bool {
	for i := range len(s) {
		if strings.IndexByte(of, s[i]) < 0 {
			return false
		}
	}
	return true
}
