package flatpak

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestAbout(t *testing.T) {
	h := newHub()
	m, err := hub.NewMembers([]hub.Member{{Name: "corp", Private: []string{"com.x.Solo", "os"}}, {Name: "public"}}, nil)
	require.NoError(t, err)
	h.hub.Members = m
	for _, test := range []struct{ name, path, want string }{
		{"an application", "/refs/heads/app/org.x.App/x86_64/stable", "org.x.App"},
		{"a runtime elsewhere", "/refs/remotes/hub/runtime/org.x.Platform/x86_64/24", "org.x.Platform"},
		{"an extension", "/refs/heads/runtime/com.x.Solo.Locale/x86_64/stable", "com.x.Solo"},
		{"encoded", "/refs/heads%2Fapp%2Forg.x.App%2Fx86_64", "org.x.App"},
		{"a link", "/appstream/org.x.App.flatpakref", "org.x.App"},
		{"another branch", "/refs/heads/appstream2/x86_64", ""},
		{"one that is private", "/refs/heads/os/x86_64", "os"},
		{"nothing behind it", "/refs/heads/app", ""},
		{"a repository", "/demo.flatpakrepo", ""},
		{"an object", commit + ".commit", ""},
		{"none", "/", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, h.about(test.path))
		})
	}
}
