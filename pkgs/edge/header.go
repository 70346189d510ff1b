package edge

import (
	"net/http"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// header fills h with the fields of the whole response: the origin's as it sent
// them, on a hit as on a miss, and what the cache has to say. ranged is whether
// parts of it can be had.
//
// The origin's Cache-Control does not pass, but for pass-through: it speaks of
// how long its own copy is fresh, while ours is as fresh as configuration and
// protocol say, and a client that keeps an index on the origin's word would not
// see a purge or a new generation here. So mutable content is validated at each
// use, which costs us a 304, and immutable content never.
func (e *edge) header(h http.Header, req *exchange.Request, resp *exchange.Response, ranged bool) {
	entry, class := resp.Entry, req.Policy.Class
	for name, values := range entry.Header {
		if len(values) > 0 && passes(name, class) {
			h[name] = values[:len(values):len(values)] // shared, so that who adds to it makes a copy
		}
	}

	// One array for the values, each field's a slice of it.
	values := make([]string, 0, 12)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("Age", strconv.FormatInt(int64(freshness.Age(entry.Header, entry.Requested, entry.Received, e.Now()).Seconds()), 10))
	set("Cache-Status", join(h["Cache-Status"], resp.Outcome.CacheStatus(e.Name)))
	set("X-Cache", resp.Outcome.Word())
	if entry.Mirror != "" {
		set("X-Cache-Upstream", entry.Mirror)
	}
	if e.Via != "" {
		set("Via", join(h["Via"], e.via[0]))
	}
	switch {
	case entry.Status >= 400:
		set("Cache-Control", "no-store")
	case class == freshness.Immutable && entry.Status == http.StatusOK:
		set("Cache-Control", "public, max-age=31536000, immutable")
	case class == freshness.Passthrough:
		if h["Cache-Control"] == nil {
			set("Cache-Control", "no-store")
		}
	default:
		set("Cache-Control", "no-cache")
	}
	if entry.Status == http.StatusOK && h["Last-Modified"] == nil {
		// apt asks with its own clock where it was given no date. A validation
		// moves Received, but not this date.
		stored := entry.Stored
		if stored.IsZero() {
			stored = entry.Received
		}
		if !stored.IsZero() {
			set("Last-Modified", stored.UTC().Format(http.TimeFormat))
		}
	}
	if entry.Size >= 0 && entry.Status != http.StatusNoContent {
		set("Content-Length", strconv.FormatInt(entry.Size, 10))
	}
	if ranged {
		set("Accept-Ranges", "bytes")
	}
	set("X-Content-Type-Options", "nosniff")
	if mediaType := h["Content-Type"]; mediaType == nil {
		h["Content-Type"] = nil // net/http is not to guess it either
	} else if runs(mediaType[0]) {
		// The mirror's script must not run with the rights of this host.
		set("Content-Security-Policy", "sandbox")
	}
}

// passes says whether a field of the origin goes to the client. Most that do not
// were dropped on receipt; a tree that somebody else laid under the store may
// have them all the same.
func passes(name string, class freshness.Class) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", // RFC 9110 §7.6.1
		"Content-Length", "Content-Range", "Accept-Ranges", "Age", "X-Cache", "X-Cache-Upstream", "X-Request-Id": // ours to say
		return false
	case "Cache-Control", "Expires", "Pragma":
		return class == freshness.Passthrough
	}
	// A web server in front would send its internal files.
	return !strings.HasPrefix(name, "X-Accel-") && !strings.HasPrefix(name, "X-Sendfile")
}

// runs says whether a browser could run scripts in content of this type.
func runs(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	if len(mediaType) < 4 {
		return false
	}
	tail := mediaType[len(mediaType)-4:]
	return strings.EqualFold(tail, "html") || strings.EqualFold(tail, "/xml") || strings.EqualFold(tail, "+xml")
}

// dropContent removes the fields that describe content which is not sent.
func dropContent(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Content-") && name != "Content-Location" {
			delete(h, name)
		}
	}
}

func join(list []string, last string) string {
	if len(list) == 0 {
		return last
	}
	return strings.Join(list, ", ") + ", " + last
}
