package nuget

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIndex: whether a member has a package tells the list of its versions beside a
// file, or its registration.
func TestIndex(t *testing.T) {
	for target, want := range map[string]string{
		"/flat/demo/index.json":                             "/flat/demo/index.json",
		"/flat/demo/1.0.0/demo.1.0.0.nupkg":                 "/flat/demo/index.json",
		"/flat/demo/1.0.0/demo.1.0.0.nupkg?sig=1":           "/flat/demo/index.json",
		"/flat/demo/1.0.0/icon":                             "/flat/demo/index.json",
		"/reg/demo/page/1.0.0/2.0.0.json":                   "/reg/demo/index.json",
		"/flat/demo/index.json?x=1":                         "/flat/demo/index.json",
		"/reg/demo/1.0.0.json":                              "/reg/demo/index.json",
		"/_f/search/reg/demo/index.json":                    "",
		"/v3/index.json":                                    "",
		"/query?q=demo":                                     "",
		"/v3/catalog0/data/2018.10.15.03/demo.1.0.0.json":   "",
		"/v3/vulnerabilities/2026.01.01/vulnerability.json": "",
		"/readme": "",
	} {
		req, err := parse(t, target)
		require.NoError(t, err)
		index := newHub().Index(req)
		if want == "" {
			assert.Nil(t, index, target)
			continue
		}
		require.NotNil(t, index, target)
		assert.Equal(t, want, index.Key.Path)
		assert.Equal(t, want, index.Target)
		assert.Equal(t, "demo", index.Package)
		again, err := parse(t, want)
		require.NoError(t, err)
		assert.Equal(t, again.Policy, index.Policy)
	}
}
