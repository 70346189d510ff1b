package hub

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzRestore: a state that somebody has damaged is an error or is within the
// bounds, and what was restored can be saved again.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"sets":[{"root":"/dists/a/InRelease","current":"sha256:x","publication":3,"with":["/x"],"hot":{"/p":2},"latest":"sha256:y","order":7,"given":"2026-01-01T00:00:00Z"}],"pins":[{"client":"192.0.2.1","root":"/r","digest":"sha256:x","at":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"sets":[{"root":1}]}`))
	f.Add([]byte(`{"pins":[{"client":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var saved []byte
		m := NewMemory(func(state []byte) { saved = state })
		if m.Restore(text) != nil {
			return
		}
		assert.LessOrEqual(t, len(m.sets), maxSets)
		assert.LessOrEqual(t, len(m.pins), maxPins)
		m.Save()
		if saved != nil {
			assert.NoError(t, NewMemory(nil).Restore(saved))
		}
	})
}
