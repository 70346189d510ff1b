package hub_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestWithField(t *testing.T) {
	header := http.Header{"Etag": {"a", "b"}, "X": {"y"}}
	resp := &exchange.Response{Entry: &exchange.Entry{Status: 200, Header: header}}
	assert.Equal(t, http.Header{"Etag": {"c"}, "X": {"y"}}, hub.WithField(resp, "ETag", "c").Entry.Header)
	assert.Equal(t, http.Header{"X": {"y"}}, hub.WithField(resp, "Etag", "").Entry.Header)
	assert.Equal(t, http.Header{"Etag": {`"0a"`}, "X": {"y"}}, hub.WithTag(resp, "md5:0a").Entry.Header)
	assert.Equal(t, http.Header{"X": {"y"}}, hub.WithTag(resp, "").Entry.Header)
	assert.Equal(t, http.Header{"Etag": {"a", "b"}, "X": {"y"}}, header, "entries are not changed")
	assert.Equal(t, http.Header{"A": {"b"}}, hub.WithField(&exchange.Response{Entry: &exchange.Entry{}}, "a", "b").Entry.Header)
}

func TestMoved(t *testing.T) {
	key := exchange.Key{Hub: "h", Path: "/a/b"}
	resp := hub.Moved(&exchange.Request{Key: key}, "b/")
	assert.Equal(t, key, resp.Entry.Key)
	assert.Equal(t, http.StatusMovedPermanently, resp.Entry.Status)
	assert.Equal(t, "b/", resp.Entry.Header.Get("Location"))
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.EqualValues(t, len(text), resp.Entry.Size)
}

func TestWithin(t *testing.T) {
	req := &exchange.Request{Target: "/x", Policy: freshness.Policy{TTL: time.Hour, StaleIfError: time.Minute}}
	assert.Equal(t, freshness.Policy{TTL: 0, StaleIfError: time.Minute}, hub.Within(req, 0).Policy)
	assert.Equal(t, "/x", hub.Within(req, freshness.Forever).Target)
	assert.Equal(t, time.Hour, req.Policy.TTL)

	assert.Same(t, req, hub.Whole(req))
	head := &exchange.Request{Target: "/x", Head: true}
	assert.Equal(t, &exchange.Request{Target: "/x"}, hub.Whole(head))
	assert.True(t, head.Head)
}

func TestConsult(t *testing.T) {
	down := errors.New("down")
	req := &exchange.Request{Key: exchange.Key{Hub: "h", Path: "/i"}, Target: "/i?x"}
	consult := func(x *index, fails error) (*exchange.Response, string, error) {
		text := ""
		resp, err := hub.Consult(t.Context(), x, req, func(r io.Reader, from *url.URL) error {
			assert.Equal(t, "http://m/i?x", from.String())
			all, err := io.ReadAll(r)
			text = string(all)
			return errors.Join(err, fails)
		})
		assert.Zero(t, x.unclose)
		return resp, text, err
	}
	resp, text, err := consult(&index{text: "abc", status: 200}, nil)
	require.NoError(t, err)
	assert.Equal(t, "abc", text)
	assert.Equal(t, 200, resp.Entry.Status)

	resp, text, err = consult(&index{text: "none", status: 404}, down)
	require.NoError(t, err)
	assert.Empty(t, text, "it is not read")
	assert.True(t, hub.Missing(resp.Entry.Status))
	assert.False(t, hub.Missing(503))

	for _, x := range []*index{{text: "abc", status: 200}, {text: "\x1f\x8bno gzip", status: 200}} {
		_, _, err = consult(x, down)
		var stated *exchange.Error
		require.ErrorAs(t, err, &stated)
		assert.Equal(t, 502, stated.Status)
	}
	_, err = hub.Consult(t.Context(), exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) {
		return nil, down
	}), req, nil)
	assert.Equal(t, down, err)
}

func TestSkim(t *testing.T) {
	var heard []string
	hear := map[string]func(string, []byte) []byte{"a": func(name string, text []byte) []byte {
		heard = append(heard, name+string(text))
		return nil
	}}
	x := &index{text: `{"a":{"x":1,"y":[2]},"b":{}}`, status: 200}
	require.NoError(t, hub.Skim(t.Context(), x, &exchange.Request{}, hear))
	assert.Equal(t, []string{"x1", "y[2]"}, heard)
	assert.Zero(t, x.unclose)
	require.NoError(t, hub.Skim(t.Context(), &index{text: "none", status: 404}, &exchange.Request{}, hear), "there is nothing to hear")
	assert.Error(t, hub.Skim(t.Context(), &index{text: "<html>", status: 200}, &exchange.Request{}, hear))
	assert.Len(t, heard, 2)
}

func TestJSONRefusal(t *testing.T) {
	contentType, body := hub.JSONRefusal("a/b", map[string]string{"x": `no "y"`})
	assert.Equal(t, "a/b", contentType)
	assert.Equal(t, `{"x":"no \"y\""}`+"\n", string(body))
}

func TestJudged(t *testing.T) {
	part := &exchange.Part{}
	var asked []*exchange.Request
	contents := []string{"bad", "good and more"}
	next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		text := contents[len(asked)%len(contents)]
		asked = append(asked, req)
		return &exchange.Response{Entry: &exchange.Entry{Status: 200, Mirror: text[:1]}, Body: io.NopCloser(strings.NewReader(text))}, nil
	})
	o := &hub.Options{Mirrors: make([]*url.URL, 2)}
	judge := hub.Beginning(4, func(head []byte) error {
		assert.LessOrEqual(t, len(head), 4)
		if string(head) != "good" {
			return errors.New("bad")
		}
		return nil
	})
	resp, err := o.Judged(t.Context(), next, &exchange.Request{Resume: part}, judge)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "good and more", string(text), "it is whole")
	require.Len(t, asked, 2)
	assert.Equal(t, []string{"b"}, asked[1].Avoid)
	assert.Nil(t, asked[0].Resume, "a rest has no beginning")

	contents = []string{"good"}
	resp, err = o.Judged(t.Context(), next, &exchange.Request{}, hub.BeginsWith("go"))
	require.NoError(t, err)
	text, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "good", string(text))
	_, err = o.Judged(t.Context(), next, &exchange.Request{}, hub.BeginsWith("good and more"))
	assert.Error(t, err, "content that ends before")

	contents = []string{"bad"}
	_, err = o.Judged(t.Context(), next, &exchange.Request{}, judge)
	var stated *exchange.Error
	require.ErrorAs(t, err, &stated)
	assert.Equal(t, 502, stated.Status)
}

func TestRecent(t *testing.T) {
	r := hub.NewRecent[string, int](2)
	_, ok := r.Get("a")
	assert.False(t, ok)
	r.Put("a", 1)
	r.Put("b", 2)
	r.Put("a", 3)
	got, ok := r.Get("a")
	assert.True(t, ok)
	assert.Equal(t, 3, got)
	r.Update("b", func(old int, known bool) (int, bool) {
		assert.True(t, known)
		return old + 1, false
	})
	got, _ = r.Get("b")
	assert.Equal(t, 2, got, "left as it was")
	r.Put("c", 4)
	_, ok = r.Get("a")
	assert.False(t, ok, "one too many: all are forgotten")
	got, _ = r.Get("c")
	assert.Equal(t, 4, got)
}

func TestPace(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	p := hub.NewPace(&hub.Options{Now: func() time.Time { return now }}, time.Minute)
	assert.True(t, p.Next("a"))
	now = now.Add(59 * time.Second)
	assert.False(t, p.Next("a"))
	assert.True(t, p.Next("b"))
	now = now.Add(time.Second)
	assert.True(t, p.Next("a"), "what was refused does not count")
	assert.False(t, p.Next("a"))
}

func TestNewest(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	n := hub.NewNewest(&hub.Options{Now: func() time.Time { return now }})
	day := 24 * time.Hour
	assert.NoError(t, n.Check("/a", now.Add(-2*day)))
	assert.NoError(t, n.Check("/a", now.Add(-2*day)), "the same")
	for range 2 {
		assert.Error(t, n.Check("/a", now.Add(-3*day)), "a mirror behind")
	}
	assert.NoError(t, n.Check("/a", time.Time{}), "no date")
	assert.NoError(t, n.Check("/a", now.Add(3*day)), "in the future")
	assert.NoError(t, n.Check("/a", now.Add(-day)), "which is not remembered")
	assert.Error(t, n.Check("/a", now.Add(-2*day)))
	assert.NoError(t, n.Check("/b", now.Add(-3*day)), "other content")
}
