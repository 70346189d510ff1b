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

	// Sent hears of every answer that is given from the front, and of its bytes. nil
	// is nobody.
	Sent func(a *Answer)
}

// An Answer is one response of the front's own. It is good until [Hit.Sent] returns.
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
	parts    []part // of the head
	partial  []part // of that of a stretch; nil: there is none
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

// simple says whether r is a request that only Host, Accept and Range, of all its
// fields, can matter to: it is head.plain for one that net/http has parsed.
func simple(r *http.Request) bool {
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Close || r.ContentLength != 0 || r.RequestURI == "" || r.RequestURI[0] != '/' {
		return false
	}
	for name, values := range r.Header {
		switch name {
		case "User-Agent", "Accept-Encoding", "Accept-Language":
		case "Accept", "Range":
			if len(values) > 1 {
				return false
			}
		case "Connection":
			for _, v := range values {
				if !fold(v, "keep-alive") {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

// render splits the heads of a response at what changes between two requests. They
// are what net/http would write.
func (r *Ready) render(h http.Header) bool {
	names := slices.Sorted(maps.Keys(h))
	var ok bool
	if r.parts, ok = r.split("HTTP/1.1 200 OK\r\n", h, names); !ok {
		return false
	}
	if at, found := slices.BinarySearch(names, "Content-Range"); !found && len(h["Content-Length"]) == 1 {
		names = slices.Insert(names, at, "Content-Range")
		r.partial, _ = r.split("HTTP/1.1 206 Partial Content\r\n", h, names)
	}
	return true
}

// split is the head of status and the fields of h by names. With Content-Range among them, which h
// does not have, it is that of a stretch.
func (r *Ready) split(status string, h http.Header, names []string) (parts []part, ok bool) {
	var b bytes.Buffer
	cut := func(then dynamic) {
		parts = append(parts, part{bytes.Clone(b.Bytes()), then})
		b.Reset()
	}
	field := func(name string, value dynamic) {
		b.WriteString(name + ": ")
		cut(value)
		b.WriteString("\r\n")
	}
	b.WriteString(status)
	for _, name := range names {
		values := h[name]
		switch name {
		case "Age":
			field(name, age)
			continue
		case "X-Request-Id":
			field(name, requestID)
			continue
		case "Content-Range":
			field(name, contentRange)
			continue
		case "Content-Length":
			if slices.Contains(names, "Content-Range") {
				field(name, length)
				continue
			}
		case "Cache-Status":
			if len(values) != 1 {
				return nil, false
			}
			if !r.outcome.HasTTL {
				break
			}
			const mark = "; ttl="
			i := strings.LastIndex(values[0], mark)
			if i < 0 {
				return nil, false
			}
			rest := strings.TrimLeft(values[0][i+len(mark):], "0123456789")
			b.WriteString("Cache-Status: " + values[0][:i+len(mark)])
			cut(ttl)
			b.WriteString(rest + "\r\n")
			continue
		case "Connection", "Transfer-Encoding", "Trailer":
			return nil, false // of one connection
		}
		one := http.Header{name: values}
		if one.Write(&b) != nil {
			return nil, false
		}
	}
	if len(h["Date"]) == 0 {
		field("Date", date)
	}
	b.WriteString("\r\n")
	cut(end)
	return parts, true
}

// appendHead appends the head of a as it is now, and says whether the entry is still fresh.
func (r *Ready) appendHead(b []byte, now time.Time, stamp []byte, a *Answer) ([]byte, bool) {
	verdict, left := r.policy.Judge(r.Entry.Received, now)
	if verdict != freshness.Fresh || (left != freshness.Forever) != r.outcome.HasTTL {
		return b, false
	}
	a.Outcome = r.outcome
	a.Outcome.TTL = left
	parts := r.parts
	if a.Status == http.StatusPartialContent {
		parts = r.partial
	}
	for i := range parts {
		p := &parts[i]
		b = append(b, p.text...)
		switch p.then {
		case age:
			b = strconv.AppendInt(b, int64(freshness.Age(r.Entry.Header, r.Entry.Requested, r.Entry.Received, now).Seconds()), 10)
		case ttl:
			b = strconv.AppendInt(b, int64(left/time.Second), 10)
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
	return b, true
}
