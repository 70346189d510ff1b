package rubygems

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestGemOf(t *testing.T) {
	m, err := hub.NewMembers([]hub.Member{{Name: "corp", Private: []string{"secret", "a-1"}}, {Name: "public"}}, nil)
	require.NoError(t, err)
	for _, test := range []struct{ file, name, version, private string }{
		{"/gems/rack-3.0.1.gem", "rack", "3.0.1", "rack"},
		{"/gems/rack-3.0.0.beta1.gem", "rack", "3.0.0.beta1", "rack"},
		{"/gems/nokogiri-1.15.0-x86_64-linux.gem", "nokogiri", "1.15.0", "nokogiri"},
		{"/gems/b-1.0-universal-darwin-19.gem", "b", "", "b"},
		{"/gems/a-2fa-1.0.gem", "a-2fa", "1.0", "a-2fa"},
		{"/gems/a-1-2.0.gem", "a", "", "a-1"},
		{"/gems/odd.gem", "odd", "", "odd"},
		{"/quick/Marshal.4.8/secret-1.0.gemspec.rz", "secret", "1.0", "secret"},
		{"/gems/lib%2Fsecret-1.0.gem", "lib/secret", "1.0", "secret"},
	} {
		t.Run(test.file, func(t *testing.T) {
			h := newHub(nil)
			name, version := h.gemOf(test.file)
			assert.Equal(t, [2]string{test.name, test.version}, [2]string{name, version})
			h.hub.Members = m
			name, _ = h.gemOf(test.file)
			assert.Equal(t, test.private, name)
		})
	}
}
