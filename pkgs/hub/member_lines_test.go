package hub_test

import (
	"bufio"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func partsOf(texts ...string) (parts []hub.Part) {
	for i, text := range texts {
		mirror := "https://" + string(rune('a'+i)) + ".example"
		parts = append(parts, hub.Part{Entry: &exchange.Entry{Mirror: mirror}, Body: strings.NewReader(text)})
	}
	return parts
}

func TestPartLines(t *testing.T) {
	var got []string
	require.NoError(t, hub.PartLines(partsOf("a\n\n b \r\n", "", "c"), func(line []byte) error {
		got = append(got, string(append(line, '.')))
		return nil
	}))
	assert.Equal(t, []string{"a.", "b.", "c."}, got)

	errBad := errors.New("bad")
	err := hub.PartLines(partsOf("a", "b\nc"), func(line []byte) error {
		if string(line) == "b" {
			return errBad
		}
		assert.Equal(t, "a", string(line))
		return nil
	})
	assert.ErrorIs(t, err, errBad)
	assert.ErrorContains(t, err, "https://b.example")
	err = hub.PartLines(partsOf(strings.Repeat("x", 1<<20+1)), func([]byte) error { return nil })
	assert.ErrorIs(t, err, bufio.ErrTooLong)
}
