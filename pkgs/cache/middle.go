package cache

import (
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A flight that is begun for a client who wants a range far from the beginning
// begins there, if upstream vouches for all of the content being one: what that
// client waits for comes first, then what is behind it, then what is before, or
// that beside as soon as somebody waits for it.
//
// Until the beginning reaches it, what is behind is shown as it comes, unproved
// and to its end, like what is asked for beside a flight (section): a client gets
// a part of it there, which no digest proves. Who comes from the beginning is held
// back as ever.

// begins is where the client of ask begins to read, if that is far from the
// beginning; else 0.
func begins(ask *exchange.Request) int64 {
	h := ask.Client.Header
	if ask.Client.Method != http.MethodGet || h["Range"] == nil || h["If-Range"] != nil {
		return 0 // whether the condition holds, only the whole tells
	}
	first, ok := freshness.FirstByte(h["Range"])
	if !ok || first < farAhead || ask.Size > 0 && first >= ask.Size {
		return 0
	}
	return first
}

// beginAt makes the flight one whose content comes from an offset on first.
func (f *flight) beginAt(from int64) {
	f.lanes = f.ranges.Striped()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from, f.arrived = from, extents{}
}
