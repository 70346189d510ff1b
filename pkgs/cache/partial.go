package cache

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// partVariant is the secondary key of a part of content, one a URI: no hash is spelled so.
const partVariant = "~part"

func partKey(key exchange.Key) exchange.Key {
	key.Variant = partVariant
	return key
}

// partOf is what the 206 e has of the content; ok is false where it is not stored: it
// has many parts, or another length than it says, or was selected by fields.
func partOf(req *exchange.Request, e *exchange.Entry) (p freshness.Part, ok bool) {
	p, ok = freshness.ParseContentRange(e.Header["Content-Range"])
	vary, _ := freshness.VaryFields(e.Header)
	return p, ok && e.Size == p.Len() && len(vary) == 0 && len(req.Header["Range"]) == 1
}

// stored206 opens the part that is stored under a primary key.
func (c *Cache) stored206(ctx context.Context, key exchange.Key) (*exchange.Entry, freshness.Part, io.ReadSeekCloser, bool) {
	e, body, err := c.store.Open(ctx, partKey(key))
	if err != nil {
		return nil, freshness.Part{}, nil, false
	}
	since, _, _ := c.outdated.get(key, c.now())
	p, ok := freshness.ParseContentRange(e.Header["Content-Range"])
	if !ok || e.Status != http.StatusPartialContent || e.Size != p.Len() || !e.Requested.After(since) {
		body.Close()
		return nil, p, nil, false
	}
	return e, p, body, true
}

// part answers a request for a range from a stored part that has all of it, and
// is fresh (§3.4); nil if there is none.
func (c *Cache) part(ctx context.Context, req *exchange.Request) *exchange.Response {
	e, p, body, ok := c.stored206(ctx, req.Key)
	if !ok {
		return nil
	}
	asked, ok := p.Within(req.Header["Range"])
	use := judged(e).Reuse(req.Header, c.now(), 0)
	if match := req.Header.Get("If-Range"); match != "" && (match != e.Header.Get("Etag") || !freshness.Strong(match)) {
		ok = false // RFC 9110 §13.1.5; a date proves too little of a part
	}
	if req.Header["If-None-Match"] != nil || req.Header["If-Modified-Since"] != nil {
		ok = false
	}
	if ok {
		_, err := body.Seek(asked.First-p.First, io.SeekStart)
		ok = err == nil
	}
	if !ok || use.Verdict != freshness.Fresh {
		body.Close()
		return nil
	}
	out := *e
	out.Header = use.Terms.Withheld(e.Header).Clone()
	out.Header["Content-Range"] = []string{asked.String()}
	out.Size = asked.Len()
	return &exchange.Response{
		Entry:    &out,
		Body:     content(req, &limited{io.LimitReader(body, asked.Len()), body}),
		Verbatim: true,
		Outcome:  exchange.Outcome{Hit: true, TTL: use.Left, HasTTL: true},
	}
}

// limited is some of a body.
type limited struct {
	io.Reader
	io.Closer
}

// maxCombined is how long content may be that is put together from parts, in
// bytes: it is copied, and there is no end of parts.
const maxCombined = 256 << 20

// combine puts together the part that was stored before, if there was one, and
// the one that has come after it: where they meet or overlap, and one strong
// validator says that they are of the same content (RFC 9110 §15.3.7.3). If
// nothing is missing any more, it is the whole.
func (c *Cache) combine(ctx context.Context, primary exchange.Key, old *exchange.Entry, body io.ReadSeeker) {
	e, p, newer, ok := c.stored206(ctx, primary)
	if !ok {
		return
	}
	defer newer.Close()
	q, ok := freshness.ParseContentRange(old.Header["Content-Range"])
	etag := e.Header.Get("Etag")
	if !ok || !freshness.Strong(etag) || old.Header.Get("Etag") != etag || p.Total != q.Total || p.Total < 0 ||
		q.First > p.Last+1 || p.First > q.Last+1 {
		return
	}
	union := freshness.Part{First: min(p.First, q.First), Last: max(p.Last, q.Last), Total: p.Total}
	if union == p || union.Len() > maxCombined {
		return
	}
	all := *e
	all.Size = union.Len()
	all.Header = combined(old.Header, e.Header)
	all.Header["Content-Range"] = []string{union.String()}
	if union.Len() == union.Total {
		all.Key, all.Status = primary, http.StatusOK
		delete(all.Header, "Content-Range")
	}
	if err := c.write(ctx, &all, []placed{{q.First - union.First, body}, {p.First - union.First, newer}}); err != nil {
		c.log.WarnContext(ctx, "parts not put together", "hub", primary.Hub, "key", primary.Path, "err", err)
		return
	}
	if since, _, ok := c.outdated.get(primary, c.now()); ok && !all.Requested.After(since) {
		_ = c.store.Delete(ctx, all.Key) // invalidated meanwhile
	}
	if all.Status == http.StatusOK {
		_ = c.store.Delete(ctx, e.Key)
	}
}

// combined is the header of content that news brings a part of, and stored describes
// another: the newer fields replace the older ones, and what is only there stays. In
// answer to If-Range an origin leaves most of them out (RFC 9110 §15.3.7, §15.3.7.3).
func combined(stored, news http.Header) http.Header {
	h := stored.Clone()
	if h == nil {
		h = http.Header{}
	}
	delete(h, "Age")
	maps.Copy(h, news)
	delete(h, "Content-Range")
	return h
}

// placed is content that belongs at an offset.
type placed struct {
	at   int64
	body io.ReadSeeker
}

// write stores e with what the parts bring, of which later ones win.
func (c *Cache) write(ctx context.Context, e *exchange.Entry, parts []placed) error {
	draft, err := c.store.Draft(ctx, e.Size)
	if err != nil {
		return err
	}
	defer draft.Close()
	for _, p := range parts {
		if _, err := p.body.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(draft, p.at), p.body); err != nil {
			return err
		}
	}
	own := exchange.OwnAlgorithm(e.Size)
	sum := exchange.Digest(own + ":").New()
	if _, err := io.Copy(sum, io.NewSectionReader(draft, 0, e.Size)); err != nil {
		return err
	}
	e.Digest, e.Proved = exchange.NewDigest(own, sum.Sum(nil)), ""
	return draft.Commit(context.WithoutCancel(ctx), e)
}

// A rest is what is missing of content whose beginning is stored.
type rest struct {
	cache *Cache
	key   exchange.Key    // of the part
	entry *exchange.Entry // of the part
	have  freshness.Part
	plain *exchange.Request // for the whole
	done  bool              // complete has joined the two
}

// rest is what req needs to be complete; nil if no beginning is stored, or
// nothing vouches that more of the same could be had: only a strong tag does (RFC
// 9110 §15.3.7.3).
func (c *Cache) rest(ctx context.Context, req *exchange.Request) *rest {
	e, p, body, ok := c.stored206(ctx, req.Key)
	if !ok {
		return nil
	}
	body.Close()
	if p.First != 0 || p.Total < 0 || p.Last+1 >= p.Total || !freshness.Strong(e.Header.Get("Etag")) {
		return nil
	}
	return &rest{cache: c, key: partKey(req.Key), entry: e, have: p, plain: req}
}

// ask is the request for what is missing, or for the whole if that has changed.
func (p *rest) ask(req *exchange.Request) *exchange.Request {
	ask := req.Clone()
	if ask.Header == nil {
		ask.Header = http.Header{}
	}
	ask.Header["Range"] = []string{"bytes=" + strconv.FormatInt(p.have.Last+1, 10) + "-"}
	ask.Header["If-Range"] = []string{p.entry.Header.Get("Etag")}
	return ask
}

// complete makes one response of the part and the rest of it, which resp should
// be. If it is not, it is the whole, or that is asked for.
func (p *rest) complete(ctx context.Context, next exchange.Source, resp *exchange.Response) (*exchange.Response, error) {
	e := resp.Entry
	if e.Status != http.StatusPartialContent && e.Status != http.StatusRequestedRangeNotSatisfiable {
		return resp, nil
	}
	got, ok := freshness.ParseContentRange(e.Header["Content-Range"])
	want := freshness.Part{First: p.have.Last + 1, Last: p.have.Total - 1, Total: p.have.Total}
	var body io.ReadCloser
	if ok && e.Status == http.StatusPartialContent && got == want && e.Header.Get("Etag") == p.entry.Header.Get("Etag") {
		body = p.open(ctx)
	}
	if body == nil {
		resp.Body.Close()
		return next.Get(ctx, p.plain)
	}
	p.done = true
	whole := *e
	whole.Status, whole.Size = http.StatusOK, p.have.Total
	whole.Header = combined(p.entry.Header, e.Header)
	out := *resp
	out.Entry = &whole
	out.Body = &joined{io.MultiReader(body, resp.Body), []io.Closer{body, resp.Body}}
	out.Ranges = nil
	return &out, nil
}

// open is the content of the part; nil if it is not there any more.
func (p *rest) open(ctx context.Context) io.ReadCloser {
	e, body, err := p.cache.store.Open(ctx, p.key)
	if err != nil {
		return nil
	}
	if e.Digest != p.entry.Digest {
		body.Close()
		return nil
	}
	return body
}

// joined is several bodies as one.
type joined struct {
	io.Reader
	bodies []io.Closer
}

func (j *joined) Close() error {
	var first error
	for _, b := range j.bodies {
		if err := b.Close(); err != nil && first == nil {
			first = fmt.Errorf("close a part: %w", err)
		}
	}
	return first
}
