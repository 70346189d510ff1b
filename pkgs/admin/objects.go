package admin

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// A Flight is a transfer from a mirror that is under way.
type Flight struct {
	Hub     string    `json:"hub"`
	Path    string    `json:"path"`
	Variant string    `json:"variant,omitempty"`
	Mirror  string    `json:"mirror,omitempty"` // that has answered; none has while this is not there
	Begun   time.Time `json:"begun"`
	Bytes   int64     `json:"bytes"` // that are here
	Total   int64     `json:"total"` // -1: not known
	Rate    int64     `json:"rate"`  // bytes a second, since it began
	Clients int       `json:"clients"`
}

// An Object is an entry of the store.
type Object struct {
	Hub      string      `json:"hub"`
	Path     string      `json:"path"`
	Variant  string      `json:"variant,omitempty"`
	Status   int         `json:"status"`
	Size     int64       `json:"size"`
	Digest   string      `json:"digest,omitempty"`
	Mirror   string      `json:"mirror,omitempty"` // that it came from
	Received time.Time   `json:"received"`         // or when it was found to be unchanged
	Stored   time.Time   `json:"stored,omitzero"`
	Pinned   bool        `json:"pinned"`
	Header   http.Header `json:"header,omitempty"` // where one is shown
}

// A Page is some of the objects, by hub and path.
type Page struct {
	Objects []Object `json:"objects"`
	Next    string   `json:"next,omitempty"` // the parameter after of the next page; not there: this is the last
}

// Purged says how much went.
type Purged struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// maxPage is how many objects a page may have.
const maxPage = 10_000

var keyParams = []Param{
	{"hub", "name of the hub", true},
	{"path", "below the hub's mount, beginning with /", true},
	{"variant", "which of several representations; none: the one that has none", false},
}

// objects are the routes of what is stored.
func (o *Options) objects() (all []Route) {
	if o.Store == nil {
		return nil
	}
	b := newObjects(o)
	all = append(all,
		Route{
			Pattern: "GET /api/v1/objects", About: "what is stored, by hub and path", Answer: Page{}, Handler: answer(b.list),
			Query: []Param{
				{"hub", "of this hub alone", false},
				{"prefix", "what paths begin with", false},
				{"limit", "how many, at most; 100 if it is not said, 10000 at most", false},
				{"after", "next of the page before", false},
			},
		},
		Route{Pattern: "GET /api/v1/object", About: "one object, with its fields", Query: keyParams, Answer: Object{}, Handler: answer(b.show)},
	)
	if o.Purge != nil {
		all = append(all, Route{
			Pattern: "DELETE /api/v1/objects", About: "purges one object, or those below a prefix or that a pattern matches", Answer: Purged{}, Handler: answer(b.remove),
			Query: []Param{
				{"hub", "name of the hub", true},
				{"path", "of the object; one of path, prefix and pattern is required", false},
				{"variant", "of the object; all if it is not said", false},
				{"prefix", "what paths begin with", false},
				{"pattern", "regular expression that paths match, unanchored", false},
			},
		})
	}
	return all
}

// objects answers from a store.
type objects struct {
	store  store.Store
	pinner store.Pinner // nil: nothing can be pinned
	purge  func(context.Context, exchange.Key) error
}

func newObjects(o *Options) *objects {
	b := &objects{store: o.Store, purge: o.Purge}
	b.pinner, _ = o.Store.(store.Pinner)
	return b
}

// keyOf is the key that a query names.
func keyOf(q url.Values) (exchange.Key, error) {
	key := exchange.Key{Hub: q.Get("hub"), Path: q.Get("path"), Variant: q.Get("variant")}
	if key.Hub == "" || !strings.HasPrefix(key.Path, "/") {
		return key, wrong("hub, and path that begins with /, are required")
	}
	return key, nil
}

func (b *objects) object(e *exchange.Entry) Object {
	return Object{
		Hub: e.Key.Hub, Path: e.Key.Path, Variant: e.Key.Variant, Status: e.Status, Size: e.Size, Digest: string(e.Digest),
		Mirror: e.Mirror, Received: e.Received, Stored: e.Stored, Pinned: b.pinner != nil && b.pinner.Pinned(e.Key),
	}
}

func (b *objects) show(r *http.Request) (any, error) {
	key, err := keyOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	e, content, err := b.store.Open(r.Context(), key)
	if err != nil {
		return nil, err
	}
	content.Close()
	shown := b.object(e)
	shown.Header = e.Header
	return shown, nil
}

// list answers with a page. The store knows no order, so that each page is a walk
// over all that the prefix leaves; what is kept of it is one page.
func (b *objects) list(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit := 100
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPage {
			return nil, wrong("limit is no number from 1 to %d", maxPage)
		}
		limit = n
	}
	after, err := decodeCursor(q.Get("after"))
	if err != nil {
		return nil, err
	}
	var found first
	for e, err := range b.store.Entries(r.Context(), q.Get("hub"), q.Get("prefix")) {
		if err != nil {
			return nil, err
		}
		if after == nil || compare(e.Key, *after) > 0 {
			found.add(e, limit+1)
		}
	}
	slices.SortFunc(found, func(a, b *exchange.Entry) int { return compare(a.Key, b.Key) })
	page := Page{Objects: []Object{}}
	for i, e := range found {
		if i == limit {
			page.Next = encodeCursor(found[i-1].Key)
			break
		}
		page.Objects = append(page.Objects, b.object(e))
	}
	return page, nil
}

// remove purges. What is on its way is not stopped.
func (b *objects) remove(r *http.Request) (any, error) {
	q := r.URL.Query()
	hub, prefix := q.Get("hub"), q.Get("prefix")
	if hub == "" {
		return nil, wrong("hub is required")
	}
	given := 0
	for _, name := range []string{"path", "prefix", "pattern"} {
		if q.Get(name) != "" {
			given++
		}
	}
	if given != 1 {
		return nil, wrong("one of path, prefix and pattern is required")
	}
	chosen := func(exchange.Key) bool { return true }
	switch {
	case q.Get("path") != "":
		key, err := keyOf(q)
		if err != nil {
			return nil, err
		}
		prefix = key.Path
		chosen = func(k exchange.Key) bool {
			return k.Path == key.Path && (!q.Has("variant") || k.Variant == key.Variant)
		}
		defer b.purge(r.Context(), key) // there may be no entry, and yet something remembered
	case q.Get("pattern") != "":
		re, err := regexp.Compile(q.Get("pattern"))
		if err != nil {
			return nil, wrong("pattern: %v", err)
		}
		chosen = func(k exchange.Key) bool { return re.MatchString(k.Path) }
	}
	var gone Purged
	for e, err := range b.store.Entries(r.Context(), hub, prefix) {
		if err != nil {
			return nil, err
		}
		if e.Key.Hub != hub || !chosen(e.Key) {
			continue
		}
		if err := b.purge(r.Context(), e.Key); err != nil {
			return nil, err
		}
		gone.Objects++
		gone.Bytes += max(e.Size, 0)
	}
	return gone, nil
}

// compare orders keys by hub, path and variant.
func compare(a, b exchange.Key) int {
	return cmp.Or(strings.Compare(a.Hub, b.Hub), strings.Compare(a.Path, b.Path), strings.Compare(a.Variant, b.Variant))
}

// encodeCursor is where a page ends, as the parameter after says it.
func encodeCursor(k exchange.Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.Hub + "\x00" + k.Path + "\x00" + k.Variant))
}

// decodeCursor is the inverse of encodeCursor; nil of "".
func decodeCursor(s string) (*exchange.Key, error) {
	if s == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	parts := strings.SplitN(string(text), "\x00", 3)
	if err != nil || len(parts) != 3 {
		return nil, wrong("after is not next of any page")
	}
	return &exchange.Key{Hub: parts[0], Path: parts[1], Variant: parts[2]}, nil
}

// first is a heap of the entries with the first keys, the last of them on top.
type first []*exchange.Entry

func (f first) Len() int           { return len(f) }
func (f first) Less(i, j int) bool { return compare(f[i].Key, f[j].Key) > 0 }
func (f first) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *first) Push(x any)        { *f = append(*f, x.(*exchange.Entry)) }
func (f *first) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// add puts e among the n first, if it is one of them.
func (f *first) add(e *exchange.Entry, n int) {
	switch {
	case len(*f) < n:
		heap.Push(f, e)
	case compare(e.Key, (*f)[0].Key) < 0:
		(*f)[0] = e
		heap.Fix(f, 0)
	}
}

// pins are the routes of what is never evicted.
func (o *Options) pins() (all []Route) {
	pinner, ok := o.Store.(store.Pinner)
	if !ok {
		return nil
	}
	set := func(pinned bool) http.Handler {
		return answer(func(r *http.Request) (any, error) {
			key, err := keyOf(r.URL.Query())
			if err != nil {
				return nil, err
			}
			if err := pinner.Pin(r.Context(), key, pinned); err != nil {
				return nil, err
			}
			return Pin{key.Hub, key.Path, key.Variant, pinned}, nil
		})
	}
	return []Route{
		{Pattern: "GET /api/v1/pins", About: "objects that do not make room for others", Answer: []Pin{}, Handler: answer(func(*http.Request) (any, error) {
			all := []Pin{}
			for _, k := range pinner.Pins() {
				all = append(all, Pin{k.Hub, k.Path, k.Variant, true})
			}
			return all, nil
		})},
		{Pattern: "PUT /api/v1/pin", About: "an object that is stored does not make room for others any more", Query: keyParams, Answer: Pin{}, Handler: set(true)},
		{Pattern: "DELETE /api/v1/pin", About: "it does again", Query: keyParams, Answer: Pin{}, Handler: set(false)},
	}
}

// A Pin is an object that is, or is not, kept whatever room others need.
type Pin struct {
	Hub     string `json:"hub"`
	Path    string `json:"path"`
	Variant string `json:"variant,omitempty"`
	Pinned  bool   `json:"pinned"`
}
