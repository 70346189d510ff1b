package ledger_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

const (
	header  = 4096
	segment = 64 << 10
	record  = 64
	small   = 8 << 10 // entries: 8 segments
)

// write makes a file of n facts, and leaves it as a killed process would.
func write(t testing.TB, n int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	l := open(t, ledger.Options{Path: path, Entries: small})
	for i := range n {
		l.Teach(nth(i))
	}
	b, err := os.ReadFile(path) // not closed
	require.NoError(t, err)
	return b
}

// count opens content and counts how many of n facts are known; none is wrong.
// Then it teaches more.
func count(t testing.TB, content []byte, n, more int) (known int, warned bool, missing []int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	var log bytes.Buffer
	l := open(t, ledger.Options{Path: path, Entries: small, Log: slog.New(slog.NewTextHandler(&log, nil))})
	check := func() {
		known, missing = 0, nil
		for i := range n {
			k, want := nth(i)
			got, ok := l.Lookup(t.Context(), k)
			if ok {
				known++
				require.Equal(t, want, got)
			} else {
				missing = append(missing, i)
			}
		}
	}
	check()
	again, lost := known, missing
	for i := range more { // it works, whatever was there
		l.Teach(nth(n + i))
		k, want := nth(n + i)
		got, _ := l.Lookup(t.Context(), k)
		require.Equal(t, want, got)
	}
	return again, log.Len() > 0, lost
}

func TestDamage(t *testing.T) {
	const n = 3000 // two segments and a bit
	whole := write(t, n)
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		known  int
		warned bool
	}{
		{"killed", func(b []byte) []byte { return b }, n, false},
		{"no file", func([]byte) []byte { return nil }, 0, false},
		{"one byte", func(b []byte) []byte { return b[:1] }, 0, true},
		{"header alone", func(b []byte) []byte { return b[:header] }, 0, false},
		{"another file", func(b []byte) []byte { return bytes.Repeat([]byte("left-pad"), 10_000) }, 0, true},
		{"magic", func(b []byte) []byte { b[0]++; return b }, 0, true},
		{"version", func(b []byte) []byte { b[19]++; return b }, 0, true},
		{"geometry", func(b []byte) []byte { b[21]++; return b }, 0, true},
		{"header torn", func(b []byte) []byte { b[header-1]++; return b }, 0, true},
		{"a record torn", func(b []byte) []byte { clear(b[header+10*record+32:][:32]); return b }, n - 1, false},
		{"a record's check", func(b []byte) []byte { b[header+10*record]++; return b }, n - 1, false},
		{"a record of an unknown kind", func(b []byte) []byte { b[header+10*record+4] = 200; return b }, n - 1, false},
		{"a record moved", func(b []byte) []byte {
			copy(b[header+10*record:][:record], b[header+segment+10*record:])
			return b
		}, n - 1, false},
		{"a segment's header torn", func(b []byte) []byte { b[header+segment+9]++; return b }, n - 1023, false},
		{"segments changed", func(b []byte) []byte {
			one := bytes.Clone(b[header : header+segment])
			copy(b[header:], b[header+segment:header+2*segment])
			copy(b[header+segment:], one)
			return b
		}, n - 2*1023, false},
		{"cut in a record", func(b []byte) []byte { return b[:len(b)-10] }, n - 1, false},
		{"cut in a segment's header", func(b []byte) []byte { return b[:header+2*segment+10] }, 2 * 1023, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			known, warned, missing := count(t, c.damage(bytes.Clone(whole)), n, 2000)
			assert.Equal(t, c.known, known, "missing: %v", missing[:min(len(missing), 10)])
			assert.Equal(t, c.warned, warned)
		})
	}
}

func TestOpenErrors(t *testing.T) {
	_, err := ledger.Open(ledger.Options{})
	require.Error(t, err)
	_, err = ledger.Open(ledger.Options{Path: filepath.Join(t.TempDir(), "none", "ledger")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzOpen(f *testing.F) {
	whole := write(f, 1100)
	f.Add(0, []byte(nil), 0)
	f.Add(header+5, []byte{1, 2, 3}, len(whole))
	f.Add(header+segment, make([]byte, 64), len(whole)-100)
	f.Add(0, []byte("foreign"), len(whole))
	f.Add(header, whole[header+segment:][:64], len(whole))
	f.Fuzz(func(t *testing.T, at int, b []byte, size int) {
		damaged := bytes.Clone(whole)
		if at >= 0 && at < len(damaged) {
			copy(damaged[at:], b)
		}
		if size >= 0 && size < len(damaged) {
			damaged = damaged[:size]
		}
		known, _, _ := count(t, damaged, 1100, 10)
		assert.LessOrEqual(t, known, 1100)
	})
}
