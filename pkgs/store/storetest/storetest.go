// Package storetest is the suite that every implementation of [store.Store]
// passes: each demand of the contract once, and the ones that only show under
// concurrency.
package storetest

import (
	"context"
	"crypto/sha256"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// Run runs the suite. open makes an empty store with room for some MiB, and
// closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"missing", testMissing},
		{"round trip", testRoundTrip},
		{"empty content", testEmpty},
		{"content of any size", testSizes},
		{"parts out of order", testOutOfOrder},
		{"draft is invisible", testInvisible},
		{"draft is read while it grows", testGrowing},
		{"draft stays readable after commit", testReadableAfterCommit},
		{"draft discarded", testDiscarded},
		{"commit of the wrong size", testWrongSize},
		{"commit twice", testCommitTwice},
		{"replace", testReplace},
		{"readers outlive replace and delete", testReadersOutlive},
		{"plain", testPlain},
		{"reopen", testReopen},
		{"a part is gone on with", testResume},
		{"a part is kept again", testResumedAgain},
		{"a part is kept no more", testKeptNoMore},
		{"update", testUpdate},
		{"update of other content", testUpdateRefused},
		{"delete", testDelete},
		{"large header", testLargeHeader},
		{"weird keys", testWeirdKeys},
		{"path that is a directory as well", testFileAndDirectory},
		{"entries", testEntries},
		{"cancelled context", testCancelled},
		{"one key by many", testOneKeyByMany},
		{"many keys by many", testManyKeys},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Entry is a plausible entry for content.
func Entry(key exchange.Key, content []byte) *exchange.Entry {
	sum := sha256.Sum256(content)
	received := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	return &exchange.Entry{
		Key:    key,
		Status: http.StatusOK,
		Header: http.Header{
			"Content-Type":  {"application/x-test"},
			"Last-Modified": {"Mon, 02 Feb 2026 03:04:05 GMT"},
			"Etag":          {`"v1"`},
			"Link":          {"</a>; rel=x", "</b>; rel=y"},
			"X-Quoted":      {"\"<&>\" \u2028"},
		},
		Size:      int64(len(content)),
		Digest:    exchange.NewDigest("sha256", sum[:]),
		Mirror:    "https://mirrors.example.org/base/",
		Requested: received.Add(-time.Second),
		Received:  received,
	}
}

// Put stores content under key.
func Put(tb testing.TB, s store.Store, key exchange.Key, content []byte) *exchange.Entry {
	tb.Helper()
	e := Entry(key, content)
	require.NoError(tb, put(tb.Context(), s, e, content))
	return e
}

func put(ctx context.Context, s store.Store, e *exchange.Entry, content []byte) error {
	d, err := s.Draft(ctx, int64(len(content)))
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.WriteAt(content, 0); err != nil {
		return err
	}
	return d.Commit(ctx, e)
}

// Get requires that key is stored, and returns its entry and content.
func Get(tb testing.TB, s store.Store, key exchange.Key) (*exchange.Entry, []byte) {
	tb.Helper()
	e, r, err := s.Open(tb.Context(), key)
	require.NoError(tb, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(tb, err)
	return e, b
}

// Missing requires that nothing is stored under key.
func Missing(tb testing.TB, s store.Store, key exchange.Key) {
	tb.Helper()
	_, r, err := s.Open(tb.Context(), key)
	if err == nil {
		r.Close()
	}
	require.ErrorIs(tb, err, fs.ErrNotExist)
}

// Key is a key of the default hub.
func Key(path string) exchange.Key { return exchange.Key{Hub: "default", Path: path} }

func assertEntry(t *testing.T, want, got *exchange.Entry) {
	t.Helper()
	assert.True(t, want.Requested.Equal(got.Requested), "requested %v, want %v", got.Requested, want.Requested)
	assert.True(t, want.Received.Equal(got.Received), "received %v, want %v", got.Received, want.Received)
	w, g := *want, *got
	w.Requested, w.Received, g.Requested, g.Received = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	assert.Equal(t, w, g)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}
