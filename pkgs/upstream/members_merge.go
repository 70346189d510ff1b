package upstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// mergeAhead is how much of a merged index is made before its head goes out, in
// bytes: an index up to here has a length, and an error in it is a 502.
const mergeAhead = 1 << 20

// merged answers with the index of all members that have it, of whom asked may be.
// If one that keeps what it has has it, the others are not asked; until that is
// known nobody else is. Of a member that keeps nothing and cannot be asked the
// versions are missing; such an index is not stored, and does not replace one.
func (m *Members) merged(ctx context.Context, req *exchange.Request, asked []int, free bool) (*exchange.Response, error) {
	stored := m.stored(req.Validate)
	groups := [][]int{asked}
	if free {
		var keepers, others []int
		for _, i := range asked {
			if m.Rules.Keeps(i, req) {
				keepers = append(keepers, i)
			} else {
				others = append(others, i)
			}
		}
		groups = [][]int{keepers, others}
	}
	var have []*question
	var worst *question
	for _, group := range groups {
		for _, q := range m.ask(ctx, req, group, stored) {
			switch {
			case q.answer == had:
				have = append(have, q)
			case worst == nil || worst.answer == missed && q.answer == failing:
				worst.close()
				worst = q
			default:
				q.close()
			}
			if q.answer == failing {
				m.Log.WarnContext(ctx, "member of a hub fails", "hub", req.Key.Hub, "key", req.Key.String(), "member", m.Members[q.member].Name, "err", q.err)
			}
		}
		failed := worst != nil && worst.answer == failing
		if failed && (len(have) == 0 || req.Validate != nil || m.Rules.Keeps(worst.member, req)) {
			closeAll(have)
			return worst.resp, worst.err
		}
		if len(have) > 0 {
			worst.close()
			resp, err := m.combined(ctx, req, have, stored)
			if err == nil && failed {
				own := *resp
				own.NoStore = true
				resp = &own
			}
			return resp, err
		}
	}
	return worst.resp, worst.err
}

func closeAll(questions []*question) {
	for _, q := range questions {
		q.close()
	}
}

// ask asks members in order, each about what is stored of it. They are not asked at
// once: whoever has the index holds a part of the room for fills until it is merged,
// and many that hold one each would wait for each other to ask the next.
func (m *Members) ask(ctx context.Context, req *exchange.Request, members []int, stored map[int]*exchange.Entry) []*question {
	all := make([]*question, len(members))
	for n, i := range members {
		ask := plain(req)
		ask.Validate = stored[i]
		all[n] = m.question(ctx, i, ask)
	}
	return all
}

// combined is one response made of what members have, which is closed. If that is
// what is stored it is a 304.
func (m *Members) combined(ctx context.Context, req *exchange.Request, have []*question, stored map[int]*exchange.Entry) (*exchange.Response, error) {
	unchanged := func(q *question) bool { return q.resp.Entry.Status == http.StatusNotModified }
	same := len(have) == len(stored) && !slices.ContainsFunc(have, func(q *question) bool { return !unchanged(q) })
	if same {
		e := *have[0].resp.Entry
		if len(have) > 1 {
			e.Header, e.Size = http.Header{}, req.Validate.Size
		}
		closeAll(have)
		return &exchange.Response{Entry: &e, Body: http.NoBody}, nil
	}
	for _, q := range have {
		if !unchanged(q) {
			continue
		}
		q.close()
		q.resp, q.err = m.Members[q.member].Source.Get(ctx, plain(req))
		if weigh(q.resp, q.err) != had {
			closeAll(have)
			return nil, unsure(req, m.Members[q.member].Name, errors.Join(errors.New("the index was there a moment ago"), q.err))
		}
	}
	if len(have) == 1 {
		return have[0].resp, nil
	}
	slices.SortFunc(have, func(a, b *question) int { return a.member - b.member })
	return m.join(req, have)
}

// join merges indexes, which it takes over.
func (m *Members) join(req *exchange.Request, have []*question) (*exchange.Response, error) {
	parts := make([]*exchange.Response, len(have))
	for i, q := range have {
		parts[i] = q.resp
	}
	first := parts[0].Entry
	e := &exchange.Entry{
		Key: req.Key, Status: http.StatusOK, Header: http.Header{}, Size: -1,
		Mirror: first.Mirror, Requested: first.Requested, Received: first.Received,
	}
	if t := first.Header["Content-Type"]; t != nil {
		e.Header["Content-Type"] = t
	}
	if tag := m.tag(have); tag != "" {
		e.Header["Etag"] = []string{tag}
	}
	out := &exchange.Response{Entry: e}
	for _, p := range parts {
		out.NoStore = out.NoStore || p.NoStore
		out.Unproven = out.Unproven || p.Unproven
		if p.Entry.Requested.Before(e.Requested) {
			e.Requested = p.Entry.Requested
		}
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() { // ends with the merge, or when the reader is closed
		defer close(done)
		pw.CloseWithError(m.write(pw, req, parts))
	}()
	body := &mergedBody{pr: pr, have: have, done: done}
	head, err := io.ReadAll(io.LimitReader(pr, mergeAhead))
	if err != nil {
		body.Close()
		return nil, &exchange.Error{
			Status: http.StatusBadGateway, Message: "the indexes of the members cannot be read",
			Err: fmt.Errorf("merge %v: %w", req.Key, err),
		}
	}
	body.Reader = io.MultiReader(bytes.NewReader(head), pr)
	if len(head) < mergeAhead {
		e.Size = int64(len(head))
	}
	out.Body = body
	return out, nil
}

// write is Merge, whose panic is an error: it reads what is foreign, on a goroutine
// that net/http does not watch over. What it leaves unread is read, since the end
// of a part is the proof that it was whole.
func (m *Members) write(dst io.Writer, req *exchange.Request, parts []*exchange.Response) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := m.Merge(dst, req, parts); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := io.Copy(io.Discard, p.Body); err != nil {
			return err
		}
	}
	return nil
}

// mergedBody is the body of an index that is merged while it is read.
type mergedBody struct {
	io.Reader
	pr   *io.PipeReader
	have []*question
	done chan struct{}
}

func (b *mergedBody) Close() error {
	b.pr.Close()
	closeAll(b.have) // ends a read that the merge waits in
	<-b.done
	return nil
}

// A merged index has an entity tag that says of what it is made, so that each member
// can be asked whether its part has changed, and nothing else must be remembered.
const (
	tagBegin = `"m1.`
	maxTag   = 2 << 10
)

// A taggedPart is one part in the tag.
type taggedPart struct {
	Member string `json:"m"`
	Mirror string `json:"u"` // a hash of its base URL, which is no client's business
	Etag   string `json:"e,omitempty"`
	Date   string `json:"d,omitempty"` // Last-Modified
}

// tag is the entity tag of an index made of parts; "" if one cannot be validated.
func (m *Members) tag(have []*question) string {
	parts := make([]taggedPart, len(have))
	weak := false
	for i, q := range have {
		h := q.resp.Entry.Header
		p := taggedPart{Member: m.Members[q.member].Name, Mirror: short(q.resp.Entry.Mirror), Etag: h.Get("Etag"), Date: h.Get("Last-Modified")}
		if p.Etag == "" && p.Date == "" {
			return ""
		}
		weak = weak || !strong(p.Etag)
		parts[i] = p
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return ""
	}
	tag := tagBegin + base64.RawURLEncoding.EncodeToString(text) + `"`
	if len(tag) > maxTag {
		return ""
	}
	if weak {
		return "W/" + tag
	}
	return tag
}

// parseTag are the parts of a stored index; nil: it is of one member, or does not say.
func parseTag(e *exchange.Entry) []taggedPart {
	if e == nil {
		return nil
	}
	text, ok := strings.CutPrefix(strings.TrimPrefix(e.Header.Get("Etag"), "W/"), tagBegin)
	if !ok {
		return nil
	}
	var parts []taggedPart
	plain, err := base64.RawURLEncoding.DecodeString(strings.TrimSuffix(text, `"`))
	if err != nil || json.Unmarshal(plain, &parts) != nil || len(parts) < 2 {
		return nil
	}
	return parts
}

// short is a base URL in few characters.
func short(mirror string) string {
	h := fnv.New32a()
	io.WriteString(h, mirror)
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// stored is what is stored of each member, by its index.
func (m *Members) stored(e *exchange.Entry) map[int]*exchange.Entry {
	if e == nil {
		return nil
	}
	parts := parseTag(e)
	if parts == nil {
		if i := m.of(e.Mirror); i >= 0 {
			return map[int]*exchange.Entry{i: e}
		}
		return nil
	}
	all := map[int]*exchange.Entry{}
	for _, p := range parts {
		i := slices.IndexFunc(m.Members, func(o Member) bool { return o.Name == p.Member })
		if i < 0 {
			return nil
		}
		part := &exchange.Entry{Key: e.Key, Status: http.StatusOK, Size: -1, Header: http.Header{}, Requested: e.Requested, Received: e.Received}
		if p.Etag != "" {
			part.Header["Etag"] = []string{p.Etag}
		}
		if n := slices.IndexFunc(m.Members[i].Mirrors, func(base string) bool { return short(base) == p.Mirror }); n >= 0 {
			part.Mirror = m.Members[i].Mirrors[n]
			if p.Date != "" { // of that mirror alone
				part.Header["Last-Modified"] = []string{p.Date}
			}
		}
		all[i] = part
	}
	return all
}
