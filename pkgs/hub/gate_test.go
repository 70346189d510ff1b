package hub

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// What a root says of its age is told with whose it is: of a root that is read, of
// one that is older than what is published, of the same one again, and of a 304 of
// the mirror that it is from.
func TestGateTellsHowOldRootsAre(t *testing.T) {
	type seen struct {
		path, mirror string
		at           int64
	}
	var told []seen
	base, err := url.Parse("http://a")
	require.NoError(t, err)
	request := func(path string) *exchange.Request {
		return &exchange.Request{Key: exchange.Key{Hub: "h", Path: path}, Target: path}
	}
	g := NewGenerations(&Options{
		Name: "h", Mirrors: []*url.URL{base, base},
		Saw: func(path, mirror string, at time.Time) { told = append(told, seen{path, mirror, at.Unix()}) },
	}, Format{
		Companions: func(path string) ([]string, bool) { return nil, path == "/root" },
		Read: func(_ string, content io.Reader) (*Root, error) {
			text, err := io.ReadAll(content)
			if err != nil {
				return nil, err
			}
			order, err := strconv.ParseInt(string(text), 10, 64)
			return &Root{Order: order}, err
		},
		Request: request,
	}, GenerationOptions{})
	var status int
	var mirror, text string
	next := exchange.SourceFunc(func(_ context.Context, req *exchange.Request) (*exchange.Response, error) {
		return &exchange.Response{
			Entry: &exchange.Entry{Key: req.Key, Status: status, Header: http.Header{}, Mirror: mirror, Size: int64(len(text))},
			Body:  io.NopCloser(strings.NewReader(text)),
		}, nil
	})
	nothing := exchange.SourceFunc(func(context.Context, *exchange.Request) (*exchange.Response, error) { return nil, fs.ErrNotExist })
	gate := g.Gate(next, nothing)
	var published *exchange.Entry
	for _, c := range []struct {
		name         string
		status       int
		mirror, text string
		want         int64 // 0: nothing is told
	}{
		{"a first root", 200, "http://a", "2000000", 2000000},
		{"the same", 200, "http://b", "2000000", 2000000},
		{"not modified", 304, "http://a", "", 2000000},
		{"not modified elsewhere, which may mean older", 304, "http://b", "", 0},
		{"an older one", 200, "http://b", "1000000", 1000000},
		{"a newer one", 200, "http://b", "3000000", 3000000},
		{"one without a date", 200, "http://a", "0", 0},
	} {
		told, status, mirror, text = nil, c.status, c.mirror, c.text
		req := request("/root")
		req.Validate = published
		resp, err := gate.Get(t.Context(), req)
		require.NoError(t, err, c.name)
		if resp.Entry.Status == 200 {
			published = resp.Entry
		}
		if c.want == 0 {
			assert.Empty(t, told, c.name)
		} else if assert.NotEmpty(t, told, c.name) {
			assert.Equal(t, seen{"/root", c.mirror, c.want}, told[0], c.name)
		}
	}
}
