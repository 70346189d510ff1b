package storetest

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Leave keeps the parts of content that have says, as an interrupted transfer does.
func Leave(tb testing.TB, s store.Store, key exchange.Key, content []byte, note string, have ...exchange.Span) {
	tb.Helper()
	d, err := s.Draft(tb.Context(), int64(len(content)))
	require.NoError(tb, err)
	for _, h := range have {
		_, err := d.WriteAt(content[h.From:h.To], h.From)
		require.NoError(tb, err)
	}
	d.(store.Keeper).Keep(&exchange.Part{Entry: Entry(key, content), Have: have}, []byte(note))
	require.NoError(tb, d.Close())
}

// Resume requires that a part of content is kept under key, and takes it out.
func Resume(tb testing.TB, s store.Store, key exchange.Key, content []byte) (store.Keeper, *exchange.Part, string) {
	tb.Helper()
	d, part, note, err := s.(store.Resumer).Resume(tb.Context(), key)
	require.NoError(tb, err)
	require.True(tb, part.Valid())
	for _, h := range part.Have {
		b := make([]byte, h.To-h.From)
		_, err := d.ReadAt(b, h.From)
		require.NoError(tb, err)
		require.True(tb, bytes.Equal(content[h.From:h.To], b), "bytes %d-%d", h.From, h.To)
	}
	return d, part, string(note)
}

// Gone requires that nothing is kept under key.
func Gone(tb testing.TB, s store.Store, key exchange.Key) {
	tb.Helper()
	d, _, _, err := s.(store.Resumer).Resume(tb.Context(), key)
	if err == nil {
		d.Close()
	}
	require.ErrorIs(tb, err, fs.ErrNotExist)
}

func resumer(t *testing.T, s store.Store) {
	if _, ok := s.(store.Resumer); !ok {
		t.Skip("keeps no parts")
	}
}

func testResume(t *testing.T, s store.Store) {
	resumer(t, s)
	content, key := noise(2<<20), Key("/x")
	Gone(t, s, key)
	Leave(t, s, key, content, "a note", exchange.Span{From: 0, To: 500_000}, exchange.Span{From: 900_000, To: 1_000_000})
	Missing(t, s, key)
	assert.Empty(t, list(t, s, "", ""))
	Gone(t, s, Key("/y"))

	d, part, note := Resume(t, s, key, content)
	assertEntry(t, Entry(key, content), part.Entry)
	assert.Equal(t, []exchange.Span{{From: 0, To: 500_000}, {From: 900_000, To: 1_000_000}}, part.Have)
	assert.Equal(t, "a note", note)
	Gone(t, s, key) // it is handed out once
	for _, h := range part.Missing() {
		_, err := d.WriteAt(content[h.From:h.To], h.From)
		require.NoError(t, err)
	}
	require.NoError(t, d.Commit(t.Context(), Entry(key, content)))
	require.NoError(t, d.Close())
	_, b := Get(t, s, key)
	assert.True(t, bytes.Equal(content, b))
	Gone(t, s, key)
}

func testResumedAgain(t *testing.T, s store.Store) {
	resumer(t, s)
	content, key := noise(300_000), Key("/x")
	Leave(t, s, key, content, "1", exchange.Span{From: 0, To: 1000})
	d, _, _ := Resume(t, s, key, content)
	_, err := d.WriteAt(content[1000:2000], 1000)
	require.NoError(t, err)
	require.NoError(t, d.Close()) // nothing new was said, so what was said holds

	d, part, note := Resume(t, s, key, content)
	assert.Equal(t, []exchange.Span{{From: 0, To: 1000}}, part.Have)
	assert.Equal(t, "1", note)
	_, err = d.WriteAt(content[1000:5000], 1000)
	require.NoError(t, err)
	d.Keep(&exchange.Part{Entry: part.Entry, Have: []exchange.Span{{From: 0, To: 5000}}}, []byte("2"))
	require.NoError(t, d.Close())

	d, part, note = Resume(t, s, key, content)
	assert.Equal(t, []exchange.Span{{From: 0, To: 5000}}, part.Have)
	assert.Equal(t, "2", note)
	d.Keep(nil, nil)
	require.NoError(t, d.Close())
	Gone(t, s, key)
}

func testKeptNoMore(t *testing.T, s store.Store) {
	resumer(t, s)
	content, key := noise(10_000), Key("/x")
	have := exchange.Span{From: 0, To: 5000}
	for name, end := range map[string]func(){
		"another one in its place": func() { Leave(t, s, key, content, "newer", exchange.Span{From: 10, To: 20}) },
		"the whole is stored":      func() { Put(t, s, key, content) },
		"the key is deleted":       func() { require.NoError(t, s.Delete(t.Context(), key)) },
	} {
		Leave(t, s, key, content, "older", have)
		end()
		d, _, note, err := s.(store.Resumer).Resume(t.Context(), key)
		if err == nil {
			d.Keep(nil, nil)
			require.NoError(t, d.Close())
		}
		assert.NotEqual(t, "older", string(note), name)
		require.NoError(t, s.Delete(t.Context(), key))
	}
	d, err := s.Draft(t.Context(), 10_000)
	require.NoError(t, err)
	_, err = d.WriteAt(content[:5000], 0)
	require.NoError(t, err)
	part := &exchange.Part{Entry: Entry(key, content), Have: []exchange.Span{have}}
	d.(store.Keeper).Keep(part, nil)
	d.(store.Keeper).Keep(nil, nil)
	require.NoError(t, d.Close())
	d.(store.Keeper).Keep(part, nil)
	Gone(t, s, key)
}
