package edge

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestRanges(t *testing.T) {
	const text = "0123456789"
	tests := []struct {
		name, field string
		parts       []string // "first-last"; none is 200, "416" is that
	}{
		{"first bytes", "bytes=0-4", []string{"0-4"}},
		{"middle", "bytes=3-3", []string{"3-3"}},
		{"open end", "bytes=7-", []string{"7-9"}},
		{"all", "bytes=0-", []string{"0-9"}},
		{"beyond the end", "bytes=5-100", []string{"5-9"}},
		{"suffix", "bytes=-3", []string{"7-9"}},
		{"suffix longer than the content", "bytes=-30", []string{"0-9"}},
		{"unit in another case", "Bytes=0-1", []string{"0-1"}},
		{"spaces and empty elements", "bytes= ,0-1, ,\t", []string{"0-1"}},
		{"several", "bytes=0-1,4-5,-2", []string{"0-1", "4-5", "8-9"}},
		{"backwards", "bytes=8-9,0-1", []string{"8-9", "0-1"}},
		{"some outside", "bytes=20-30,2-3", []string{"2-3"}},
		{"huge numbers", "bytes=1-99999999999999999999999", []string{"1-9"}},
		{"huge suffix", "bytes=-99999999999999999999999", []string{"0-9"}},
		{"outside", "bytes=10-", []string{"416"}},
		{"huge start", "bytes=99999999999999999999999-", []string{"416"}},
		{"all outside", "bytes=10-12,20-", []string{"416"}},
		{"no suffix", "bytes=-0", []string{"416"}},
		{"unknown unit", "lines=0-1", nil},
		{"no unit", "0-1", nil},
		{"empty", "bytes=", nil},
		{"only commas", "bytes=,,", nil},
		{"only a dash", "bytes=-", nil},
		{"last before first", "bytes=5-4", nil},
		{"one bad of two", "bytes=0-1,5-4", nil},
		{"sign", "bytes=+1-2", nil},
		{"negative", "bytes=--2", nil},
		{"letters", "bytes=a-b", nil},
		{"space inside", "bytes=0 -1", nil},
		{"hex", "bytes=0x1-2", nil},
		{"16 ranges", "bytes=" + strings.Repeat("20-,", 15) + "1-1", []string{"1-1"}},
		{"17 ranges", "bytes=" + strings.Repeat("20-,", 16) + "1-1", nil},
		{"overlapping flood", "bytes=0-,0-", nil},
		{"overlap that fits", "bytes=0-4,2-3", []string{"0-4", "2-3"}},
	}
	h := handler(answer(text, nil))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := get(h, "GET", "/x", "Range", test.field)
			body := read(t, resp)
			assert.Equal(t, strconv.Itoa(len(body)), resp.Header.Get("Content-Length"))
			switch {
			case test.parts == nil:
				assert.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, text, body)
				assert.Empty(t, resp.Header.Get("Content-Range"))
			case test.parts[0] == "416":
				assert.Equal(t, 416, resp.StatusCode)
				assert.Equal(t, "bytes */10", resp.Header.Get("Content-Range"))
				assert.NotEmpty(t, body)
			case len(test.parts) == 1:
				assert.Equal(t, 206, resp.StatusCode)
				assert.Equal(t, "bytes "+test.parts[0]+"/10", resp.Header.Get("Content-Range"))
				assert.Equal(t, cut(text, test.parts[0]), body)
				assert.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
			default:
				assert.Equal(t, 206, resp.StatusCode)
				assert.Empty(t, resp.Header.Get("Content-Range"))
				mediaType, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
				require.NoError(t, err)
				assert.Equal(t, "multipart/byteranges", mediaType)
				parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
				for _, want := range test.parts {
					part, err := parts.NextPart()
					require.NoError(t, err)
					assert.Equal(t, "bytes "+want+"/10", part.Header.Get("Content-Range"))
					assert.Equal(t, "text/plain", part.Header.Get("Content-Type"))
					content, err := io.ReadAll(part)
					require.NoError(t, err)
					assert.Equal(t, cut(text, want), string(content))
				}
				_, err = parts.NextPart()
				assert.Equal(t, io.EOF, err)
			}
		})
	}
}

func TestRangesImpossible(t *testing.T) {
	for name, change := range map[string]func(*exchange.Response){
		"no seeker":    func(resp *exchange.Response) { resp.Body = stream{resp.Body} },
		"unknown size": func(resp *exchange.Response) { resp.Entry.Size = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(handler(answer("hello", change)), "GET", "/x", "Range", "bytes=1-2")
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, "hello", read(t, resp))
			assert.Empty(t, resp.Header.Get("Accept-Ranges"))
		})
	}
	t.Run("two fields", func(t *testing.T) {
		assert.Equal(t, 200, get(handler(answer("hello", nil)), "GET", "/x", "Range", "bytes=1-2", "Range", "bytes=0-1").StatusCode)
	})
	t.Run("empty content", func(t *testing.T) {
		h := handler(answer("", nil))
		assert.Equal(t, 416, get(h, "GET", "/x", "Range", "bytes=0-").StatusCode)
		assert.Equal(t, 416, get(h, "GET", "/x", "Range", "bytes=-5").StatusCode)
		assert.Equal(t, 200, get(h, "GET", "/x").StatusCode)
	})
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-5,3-,1-2", "bytes=,", "lines=1", "bytes=9223372036854775807-9223372036854775808"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		ranges, err := parseRange(field, size, 16)
		if err != nil {
			assert.Empty(t, ranges)
			return
		}
		assert.LessOrEqual(t, len(ranges), 16)
		sum := int64(0)
		for _, r := range ranges {
			assert.Positive(t, r.n)
			assert.GreaterOrEqual(t, r.start, int64(0))
			assert.LessOrEqual(t, r.n, size-r.start)
			sum += r.n
			again, err := parseRange(fmt.Sprintf("bytes=%d-%d", r.start, r.start+r.n-1), size, 1)
			assert.NoError(t, err)
			assert.Equal(t, []byteRange{r}, again)
		}
		assert.True(t, 0 <= sum && sum <= size)
	})
}

// cut is the part "first-last" of s.
func cut(s, part string) string {
	first, last, _ := strings.Cut(part, "-")
	i, _ := strconv.Atoi(first)
	j, _ := strconv.Atoi(last)
	return s[i : j+1]
}
