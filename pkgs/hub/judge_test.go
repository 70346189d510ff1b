package hub_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// seeking is content that can be rewound, unless that fails.
type seeking struct {
	*strings.Reader
	open *int
	err  error
}

func (s seeking) Seek(offset int64, whence int) (int64, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.Reader.Seek(offset, whence)
}

func (s seeking) Close() error { *s.open--; return nil }

func TestPeek(t *testing.T) {
	for _, n := range []int64{0, 3, 100} {
		open := 2
		file := seeking{strings.NewReader("content"), &open, nil}
		for name, body := range map[string]io.ReadCloser{"stream": closing{strings.NewReader("content"), &open}, "file": file} {
			head, whole, err := hub.Peek(body, n)
			require.NoError(t, err, name)
			assert.Equal(t, "content"[:min(n, 7)], string(head), name)
			if name == "file" {
				assert.Equal(t, body, whole, "what can be rewound stays")
			}
			all, err := io.ReadAll(whole)
			require.NoError(t, err, name)
			assert.Equal(t, "content", string(all), name)
			require.NoError(t, whole.Close())
		}
		assert.Zero(t, open)
	}
	for name, body := range map[string]func(open *int) io.ReadCloser{
		"read": func(open *int) io.ReadCloser { return closing{iotest.ErrReader(io.ErrClosedPipe), open} },
		"seek": func(open *int) io.ReadCloser { return seeking{strings.NewReader("content"), open, io.ErrClosedPipe} },
	} {
		open := 1
		_, _, err := hub.Peek(body(&open), 3)
		assert.ErrorIs(t, err, io.ErrClosedPipe, name)
		assert.Zero(t, open, name)
	}
}
