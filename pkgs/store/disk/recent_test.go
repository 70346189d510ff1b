package disk

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestRecent(t *testing.T) {
	var r recent
	metaOf := func(e exchange.Entry) []byte {
		b, err := marshalEntry(&e)
		require.NoError(t, err)
		return b
	}
	e := exchange.Entry{Key: exchange.Key{Hub: "h", Path: "/x"}, Status: 200, Size: 3, Header: http.Header{"Etag": {`"1"`}}}
	b := metaOf(e)
	first, err := r.decode(b, 3)
	require.NoError(t, err)
	again, err := r.decode(b, 3)
	require.NoError(t, err)
	assert.Same(t, first, again)

	_, err = r.decode(b, 4)
	assert.ErrorIs(t, err, errDamaged, "the file has another size")
	e.Header = http.Header{"Etag": {`"2"`}}
	other, err := r.decode(metaOf(e), 3)
	require.NoError(t, err)
	assert.Equal(t, `"2"`, other.Header.Get("ETag"))
	copy(b, "x")
	_, err = r.decode(b, 3)
	assert.ErrorIs(t, err, errDamaged, "the buffer is the caller's")

	e.Header = http.Header{"X-Long": {strings.Repeat("x", recentMeta)}}
	first, err = r.decode(metaOf(e), 3)
	require.NoError(t, err)
	again, err = r.decode(metaOf(e), 3)
	require.NoError(t, err)
	assert.NotSame(t, first, again, "so that memory is bounded")

	// More than there is room for: each is itself.
	for i := range 3 * recentEntries {
		e := exchange.Entry{Key: exchange.Key{Hub: "h", Path: fmt.Sprintf("/%d", i%(2*recentEntries))}, Status: 200}
		got, err := r.decode(metaOf(e), 0)
		require.NoError(t, err)
		require.Equal(t, e.Key, got.Key)
	}
}
