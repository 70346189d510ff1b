package exchange

import (
	"strconv"
	"time"
)

// An Outcome says how the cache handled a request, in the words of RFC 9211.
type Outcome struct {
	Hit       bool          // answered from the store without upstream (§2.1)
	Fwd       Fwd           // why it went upstream (§2.2); "" on a hit
	FwdStatus int           // upstream's status, where it differs from the one sent (§2.3)
	Stored    bool          // the response is being stored (§2.5)
	Collapsed bool          // it shares another request's transfer (§2.6)
	TTL       time.Duration // what is left of freshness (§2.4); negative when stale
	HasTTL    bool          // TTL means something: neither immutable nor unknown
	Stale     bool          // a stale entry answers since upstream cannot, or not in time
	Detail    string        // a token for people (§2.8): "negative", "timeout", "back-off"
}

// Fwd is the reason of a forwarded request (RFC 9211 §2.2).
type Fwd string

// The reasons this proxy gives.
const (
	FwdBypass  Fwd = "bypass"    // the hub or the policy says that it is not cached
	FwdMethod  Fwd = "method"    // the method is not cacheable
	FwdURIMiss Fwd = "uri-miss"  // nothing is stored under the key
	FwdVary    Fwd = "vary-miss" // what is stored under the key was selected by other fields
	FwdStale   Fwd = "stale"     // what is stored was not fresh
	FwdRequest Fwd = "request"   // the request asked for it
	FwdPartial Fwd = "partial"   // only parts are stored
)

// CacheStatus is the member that this cache appends to Cache-Status (RFC 9211 §2).
func (o Outcome) CacheStatus(cache string) string {
	b := make([]byte, 0, 80)
	b = append(b, cache...)
	if o.Hit {
		b = append(b, "; hit"...)
	} else if o.Fwd != "" {
		b = append(b, "; fwd="...)
		b = append(b, o.Fwd...)
		if o.FwdStatus != 0 {
			b = append(b, "; fwd-status="...)
			b = strconv.AppendInt(b, int64(o.FwdStatus), 10)
		}
		if o.Stored {
			b = append(b, "; stored"...)
		}
		if o.Collapsed {
			b = append(b, "; collapsed"...)
		}
	}
	if o.HasTTL {
		b = append(b, "; ttl="...)
		b = strconv.AppendInt(b, int64(o.TTL/time.Second), 10)
	}
	if o.Detail != "" {
		b = append(b, "; detail="...)
		b = append(b, o.Detail...)
	}
	return string(b)
}

// Word is the outcome in one word, the value of X-Cache: HIT, MISS, STALE,
// REVALIDATED, COALESCED or BYPASS.
func (o Outcome) Word() string {
	switch {
	case o.Stale:
		return "STALE"
	case o.Hit:
		return "HIT"
	case o.Fwd == FwdStale && o.FwdStatus == 304:
		return "REVALIDATED"
	case o.Collapsed:
		return "COALESCED"
	case o.Fwd == FwdBypass:
		return "BYPASS"
	}
	return "MISS"
}
