package front

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// How long an answer is good beyond what epochs see: rm and changes by other
// programs, facts of indexes. Behind lifetime, one request goes the long way, to
// look again, and the others may still be answered, until it is the double.
const lifetime = time.Second

// A Hit is a request that was answered from the store, in the words of who did.
type Hit struct {
	Request  *http.Request // as it came, its target untouched in RequestURI
	Exchange *exchange.Request
	Response *exchange.Response // its Body still open
	Header   http.Header        // as it was sent

	// Sent is asked, if the hit is taken, for who hears of every answer that is given
	// from it, and of its bytes. nil is nobody.
	Sent func() func(a *Answer)
}

// An Answer is one response of the front's own. It is good until who [Hit.Sent] has named returns.
type Answer struct {
	Ready     *Ready
	Outcome   exchange.Outcome
	Client    string // address and port
	RequestID []byte
	Head      bool // of a HEAD
	Status    int  // 200, or 206 of a part
	Bytes     int64
	Started   time.Time
	Complete  bool // else the client was lost

	part stretch // of the content
	id   span    // of RequestID in the head
}

// A Ready is a whole response, which needs but its times filled in. It does not
// change.
type Ready struct {
	Target string // of the request: path and query
	Entry  *exchange.Entry

	host, accept string // of the request
	hash         uint64
	token        token
	sent         func(*Answer)

	policy   freshness.Policy
	outcome  exchange.Outcome
	fields   []field // of the header
	parts    []part  // of the head
	partial  []part  // of that of a stretch; nil: there is none
	spoken   atomic.Pointer[spoken]
	body     []byte
	file     *descriptor // instead of body, if the content is large
	identity identity
	cost     int64

	soft, hard time.Time
	renewing   atomic.Bool // somebody looks again
	used       atomic.Bool // since the table's hand came by
}

// A part is literal bytes of the head, and what stands behind them.
type part struct {
	text []byte
	then dynamic
}

type dynamic uint8

const (
	end dynamic = iota
	age
	ttl
	requestID
	date
	length
	contentRange
)

// identity is what an open file is recognised by.
type identity struct {
	info fs.FileInfo
	size int64
}

func (i identity) same(j identity) bool {
	return i.info != nil && j.info != nil && i.size == j.size && os.SameFile(i.info, j.info) && i.info.ModTime().Equal(j.info.ModTime())
}

// stored is what a stored file offers; see store.Plain.
type stored interface {
	io.ReaderAt
	syscall.Conn
	Path() string
	Stat() (fs.FileInfo, error)
}

// A field is one of an answer's header: its values, or what stands around what changes in
// the only one.
type field struct {
	name         string
	values       []string // if nothing changes
	before, rest string
	then         dynamic
}

// render prepares the heads of a response: what net/http would write of h, split at what
// changes between two requests.
func (r *Ready) render(h http.Header) (ok bool) {
	if r.fields, ok = r.compose(h); !ok {
		return false
	}
	_, dated := h["Date"]
	r.parts = split("HTTP/1.1 200 OK\r\n", r.fields, dated)
	at, found := slices.BinarySearchFunc(r.fields, "Content-Range", func(f field, name string) int { return strings.Compare(f.name, name) })
	if !found && len(h["Content-Length"]) == 1 {
		fields := slices.Insert(slices.Clone(r.fields), at, field{name: "Content-Range", then: contentRange})
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == "Content-Length" })
		fields[i] = field{name: "Content-Length", then: length}
		r.partial = split("HTTP/1.1 206 Partial Content\r\n", fields, dated)
	}
	return true
}

// compose is h in the order that net/http writes it in; false if that is of one connection
// only.
func (r *Ready) compose(h http.Header) ([]field, bool) {
	fields := make([]field, 0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		f := field{name: name, values: h[name]}
		switch name {
		case "Age":
			f.then = age
		case "X-Request-Id":
			f.then = requestID
		case "Cache-Status":
			if len(f.values) != 1 {
				return nil, false
			}
			if !r.outcome.HasTTL {
				break
			}
			const mark = "; ttl="
			i := strings.LastIndex(f.values[0], mark)
			if i < 0 {
				return nil, false
			}
			i += len(mark)
			f.before, f.rest = f.values[0][:i], strings.TrimLeft(f.values[0][i:], "0123456789")
			f.then = ttl
		case "Connection", "Transfer-Encoding", "Trailer":
			return nil, false
		}
		fields = append(fields, f)
	}
	return fields, true
}

// split is the head of a status and fields. If Date is not one of them it comes last.
func split(status string, fields []field, dated bool) (parts []part) {
	var b bytes.Buffer
	cut := func(f field) {
		b.WriteString(f.name + ": " + f.before)
		parts = append(parts, part{bytes.Clone(b.Bytes()), f.then})
		b.Reset()
		b.WriteString(f.rest + "\r\n")
	}
	b.WriteString(status)
	for _, f := range fields {
		if f.then != end {
			cut(f)
			continue
		}
		one := http.Header{f.name: f.values}
		_ = one.Write(&b) // memory takes it
	}
	if !dated {
		cut(field{name: "Date", then: date})
	}
	b.WriteString("\r\n")
	return append(parts, part{bytes.Clone(b.Bytes()), end})
}

// judge puts the outcome in a as it is now, and says whether the entry is still fresh.
func (r *Ready) judge(now time.Time, a *Answer) bool {
	verdict, left := r.policy.Judge(r.Entry.Received, now)
	a.Outcome = r.outcome
	a.Outcome.TTL = left
	return verdict == freshness.Fresh && (left != freshness.Forever) == r.outcome.HasTTL
}

// due says whether this request is to go the long way, to look again: the first one
// behind a lifetime, and all behind two.
func (r *Ready) due(now time.Time) bool {
	return now.After(r.soft) && (now.After(r.hard) || r.renewing.CompareAndSwap(false, true))
}

// age is the value of Age, in seconds.
func (r *Ready) age(now time.Time) int64 {
	return int64(freshness.Age(r.Entry.Header, r.Entry.Requested, r.Entry.Received, now).Seconds())
}

// appendHead appends the head of a, which was judged, as it is now.
func (r *Ready) appendHead(b []byte, now time.Time, stamp []byte, a *Answer) []byte {
	parts := r.parts
	if a.Status == http.StatusPartialContent {
		parts = r.partial
	}
	for i := range parts {
		p := &parts[i]
		b = append(b, p.text...)
		switch p.then {
		case age:
			b = strconv.AppendInt(b, r.age(now), 10)
		case ttl:
			b = strconv.AppendInt(b, int64(a.Outcome.TTL/time.Second), 10)
		case requestID:
			from := len(b)
			b = strconv.AppendUint(b, rand.Uint64(), 36)
			a.id = span{from, len(b)}
		case date:
			b = append(b, stamp...)
		case length:
			b = strconv.AppendInt(b, a.part.n, 10)
		case contentRange:
			b = a.part.appendContentRange(b, r.Entry.Size)
		}
	}
	return b
}
