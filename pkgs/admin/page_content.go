package admin

import (
	"container/heap"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

const (
	maxRows    = 200
	browseTime = 3 * time.Second // for a look at all that a folder has
)

// A listing is a folder of a hub, or what was found in it.
type listing struct {
	Now    time.Time
	Hubs   []string
	Hub    string
	Prefix string // ends with /
	Q      string
	Up     string // the folder around it; "" of the topmost
	Trail  []crumb
	Rows   []*item
	After  string // of the next page; "": there is none
	First  bool
	Looked int64 // objects
	Bytes  int64 // of those
	Cut    bool  // the time was up
	Purge  bool
	Pins   bool
}

type crumb struct{ Name, Prefix string }

// An item is a folder, with the number and size of what is in it, or an object.
type item struct {
	Name    string
	Folder  string // its prefix; "": it is an object
	Objects int64
	Bytes   int64
	Object  Object
	Age     time.Duration
	ETag    string
	Date    string // Last-Modified

	sort string
}

// content shows a folder. The store knows no order and no folders, so that each
// page is a walk over all that is below; what is kept of it is one page, and it
// ends in time.
func (p *pages) content(r *http.Request) (any, error) {
	q := r.URL.Query()
	v := &listing{
		Now: p.Now(), Hub: q.Get("hub"), Prefix: q.Get("prefix"), Q: q.Get("q"), First: q.Get("after") == "",
		Purge: p.objects.purge != nil, Pins: p.objects.pinner != nil,
	}
	for _, h := range p.Overview().Hubs {
		v.Hubs = append(v.Hubs, h.Name)
	}
	slices.Sort(v.Hubs)
	if v.Hub == "" {
		return v, nil
	}
	if v.Prefix == "" {
		v.Prefix = "/"
	}
	if !strings.HasPrefix(v.Prefix, "/") || !strings.HasSuffix(v.Prefix, "/") {
		return nil, wrong("prefix begins and ends with /")
	}
	v.trail()
	ctx, cancel := context.WithTimeout(r.Context(), browseTime)
	defer cancel()
	found := rows{index: map[string]*item{}}
	for e, err := range p.objects.store.Entries(ctx, v.Hub, v.Prefix) {
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			v.Cut = true
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Key.Hub != v.Hub || !strings.HasPrefix(e.Key.Path, v.Prefix) || !matches(v.Q, e.Key.Path) {
			continue
		}
		v.Looked++
		v.Bytes += max(e.Size, 0)
		found.take(v, e, q.Get("after"))
	}
	slices.SortFunc(found.all, func(a, b *item) int { return strings.Compare(a.sort, b.sort) })
	v.Rows = found.all
	if len(v.Rows) > maxRows {
		v.Rows = v.Rows[:maxRows]
		v.After = v.Rows[maxRows-1].sort
	}
	for _, one := range v.Rows {
		if one.Folder == "" {
			one.Object.Pinned = p.objects.pinner != nil && p.objects.pinner.Pinned(exchange.Key{Hub: one.Object.Hub, Path: one.Object.Path, Variant: one.Object.Variant})
		}
	}
	return v, nil
}

// trail leads to the folder.
func (v *listing) trail() {
	v.Trail = []crumb{{v.Hub, "/"}}
	for i := 1; i < len(v.Prefix); {
		n := strings.IndexByte(v.Prefix[i:], '/')
		v.Trail = append(v.Trail, crumb{v.Prefix[i : i+n], v.Prefix[:i+n+1]})
		i += n + 1
	}
}

// rows are the first of a folder, in order of their names: folders come first.
type rows struct {
	all   []*item // a heap, the last of them on top
	index map[string]*item
}

func (r *rows) Len() int           { return len(r.all) }
func (r *rows) Less(i, j int) bool { return r.all[i].sort > r.all[j].sort }
func (r *rows) Swap(i, j int)      { r.all[i], r.all[j] = r.all[j], r.all[i] }
func (r *rows) Push(x any)         { r.all = append(r.all, x.(*item)) }
func (r *rows) Pop() any {
	last := r.all[len(r.all)-1]
	r.all = r.all[:len(r.all)-1]
	return last
}

// take counts an entry in its folder's row, or gives it one of its own. A row that
// had to go for want of room is behind all that stay, so it does not come back.
func (r *rows) take(v *listing, e *exchange.Entry, after string) {
	name, folder := e.Key.Path[len(v.Prefix):], ""
	sort := "1" + name + "\x00" + e.Key.Variant
	if i := strings.IndexByte(name, '/'); i >= 0 && v.Q == "" {
		name = name[:i+1]
		folder, sort = v.Prefix+name, "0"+name
	}
	if sort <= after {
		return
	}
	one := r.index[sort]
	if one == nil {
		if len(r.all) > maxRows {
			if sort > r.all[0].sort {
				return
			}
			delete(r.index, heap.Pop(r).(*item).sort)
		}
		one = &item{Name: name, Folder: folder, sort: sort}
		heap.Push(r, one)
		r.index[sort] = one
	}
	one.Objects++
	one.Bytes += max(e.Size, 0)
	if folder == "" {
		one.object(v.Now, e)
	}
}

// object makes the row that of an object.
func (one *item) object(now time.Time, e *exchange.Entry) {
	one.Object = Object{Hub: e.Key.Hub, Path: e.Key.Path, Variant: e.Key.Variant, Status: e.Status, Size: e.Size, Digest: string(e.Digest), Mirror: e.Mirror, Received: e.Received, Stored: e.Stored}
	one.Age = now.Sub(e.Received)
	one.ETag, one.Date = e.Header.Get("Etag"), e.Header.Get("Last-Modified")
}

// object shows one.
func (p *pages) object(r *http.Request) (any, error) {
	key, err := keyOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	e, content, err := p.objects.store.Open(r.Context(), key)
	if err != nil {
		return nil, err
	}
	content.Close()
	v := &struct {
		Object
		Now      time.Time
		Age      time.Duration
		Parent   string
		Purge    bool
		Pins     bool
		Verified bool
	}{Object: p.objects.object(e), Now: p.Now(), Purge: p.objects.purge != nil, Pins: p.objects.pinner != nil}
	v.Header = e.Header
	v.Age = v.Now.Sub(e.Received)
	v.Parent = key.Path[:strings.LastIndexByte(key.Path, '/')+1]
	return v, nil
}
