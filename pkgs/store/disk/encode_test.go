package disk

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// same says that encode writes what package json would.
func same(t *testing.T, s stored) {
	t.Helper()
	want, wantErr := json.Marshal(s)
	got, err := s.encode()
	require.Equal(t, wantErr != nil, err != nil, "%v, %v", wantErr, err)
	assert.Equal(t, string(want), string(got))
}

// Every field of an entry is encoded, whatever fields there will be.
func TestEncode(t *testing.T) {
	e := &exchange.Entry{}
	same(t, stored{Entry: e})
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Interface().(type) {
		case exchange.Key:
			f.Set(reflect.ValueOf(exchange.Key{Hub: "a", Path: "/b?<c>&\u2028", Variant: "\"\\\x01"}))
		case http.Header:
			f.Set(reflect.ValueOf(http.Header{"B": {"1", "2"}, "A": {}, "C": nil, "é": {"\xff", ""}}))
		case time.Time:
			f.Set(reflect.ValueOf(time.Date(2026, 11, 22, 1, 2, 3, 400+i, time.FixedZone("", 3600))))
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString("x:é\x7f")
			case reflect.Int, reflect.Int64:
				f.SetInt(-7)
			default:
				t.Fatalf("a field of type %v", f.Type())
			}
		}
		same(t, stored{Entry: e})
	}
	same(t, stored{Entry: e, Latin1: true})
	e.Received = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	same(t, stored{Entry: e})
}

func FuzzEncode(f *testing.F) {
	f.Add("default", "/a b", "", "Etag", `"1"`, "", "http://m", "", int64(1), int64(2), int64(3), true)
	f.Add("a", "\xff", "\u2029", "a<b", "\x00\x1f\x7f", "sha256:00", "é", "http://a/?&", int64(-1), int64(1<<60), int64(0), false)
	f.Fuzz(func(t *testing.T, hub, path, variant, name, value, digest, mirror, url string, size, sec, nsec int64, latin1 bool) {
		e := &exchange.Entry{
			Key: exchange.Key{Hub: hub, Path: path, Variant: variant}, Status: int(size % 1000), Size: size,
			Header: http.Header{name: {value}, "Date": {value, name}}, Digest: exchange.Digest(digest), Mirror: mirror, URL: url,
			Received: time.Unix(sec, nsec), Stored: time.Unix(nsec, sec).UTC(), Proved: exchange.Digest(mirror),
		}
		same(t, stored{Entry: e, Latin1: latin1})
	})
}
