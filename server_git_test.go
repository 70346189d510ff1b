package cacheproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGitDumb: a repository that a web server has as files is cloned through a hub of
// type files, as docs/git.md says, and again with the web server gone.
func TestGitDumb(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0", "HOME="+dir, "NO_PROXY=*", "no_proxy=*")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	work, bare := filepath.Join(dir, "work"), filepath.Join(dir, "srv", "repo.git")
	git("init", "-q", work)
	require.NoError(t, os.WriteFile(filepath.Join(work, "file"), []byte("content"), 0o600))
	git("-C", work, "add", "file")
	git("-C", work, "commit", "-q", "-m", "first")
	git("clone", "-q", "--bare", work, bare)
	git("-C", bare, "gc", "-q")
	git("-C", bare, "update-server-info")

	origin := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "srv"))))
	defer origin.Close()
	s := serverOf(t, fmt.Sprintf(`hubs: [{name: h, upstream: [{server: %s}], cache: {policies: [
		{match: '/objects/info/', refresh-after: 1m}, {match: '/objects/', refresh-after: never}, {match: '/(info/refs|HEAD)$', refresh-after: 1m}]}}]`, origin.URL), io.Discard)
	door := httptest.NewServer(s)
	defer door.Close()
	for _, to := range []string{"one", "two"} {
		git("clone", "-q", door.URL+"/h/repo.git", filepath.Join(dir, to))
		text, err := os.ReadFile(filepath.Join(dir, to, "file"))
		require.NoError(t, err)
		assert.Equal(t, "content", string(text))
		origin.CloseClientConnections()
		origin.Config.Handler = http.NotFoundHandler()
	}
}
