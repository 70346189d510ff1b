package pub

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

func TestMerge(t *testing.T) {
	got, err := hubtest.Merge(&Hub{},
		`{"name":"x","isDiscontinued":true,"latest":{"version":"2.0.0"},"versions":[{"version":"1.0.0","a":1e400},{"version":"2.0.0","from":"first"}]}`,
		`{"name":"x","latest":{"version":"3.0.0"},"versions":[{"version":"2.0.0","from":"second"},{"version":"3.0.0"}]}`,
	)
	require.NoError(t, err)
	assert.Equal(t, `{"isDiscontinued":true,"latest":{"version":"2.0.0"},"name":"x",`+
		`"versions":[{"version":"1.0.0","a":1e400},{"version":"2.0.0","from":"first"},{"version":"3.0.0"}]}`+"\n", got)
	for _, bad := range []string{`{}`, `[]`, `{"versions":[]}`, `{"versions":[{}]}`, `{"versions":[1]}`, `{"versions":`, ``} {
		_, err := hubtest.Merge(&Hub{}, bad, bad)
		assert.Error(t, err, bad)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"versions":[{"version":"1"}]}`, `{"versions":[{"version":"2"}]}`)
	f.Add(`{"name":"x","versions":{"a":{"version":"1"}}}`, `[]`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if got, err := hubtest.Merge(&Hub{}, a, b); err == nil {
			assert.True(t, json.Valid([]byte(got)), got)
		}
	})
}
