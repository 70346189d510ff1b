package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The scripts of the Debian package, with a systemctl that only knows what is
// enabled: what they have it do.
func TestDebianScripts(t *testing.T) {
	for _, c := range []struct {
		name    string
		script  string // and its arguments
		enabled string // units
		fails   string // the act that does
		want    []string
	}{
		{"first installation", "postinst configure", "", "", []string{"daemon-reload", "enable service", "restart service"}},
		{"upgrade", "postinst configure 1.0.0", "service", "", []string{"daemon-reload", "restart service"}},
		{"again after a removal", "postinst configure 1.0.0", "service", "", []string{"daemon-reload", "restart service"}},
		{"upgrade of one that was disabled", "postinst configure 1.0.0", "", "", []string{"daemon-reload", "try-restart service"}},
		{"upgrade behind the socket", "postinst configure 1.0.0", "socket", "", []string{"daemon-reload", "start socket", "try-restart service"}},
		{"the port is taken", "postinst configure", "", "restart", []string{"daemon-reload", "enable service", "restart service"}},
		{"triggered", "postinst triggered x", "service", "", nil},
		{"removal", "prerm remove", "service", "", []string{"stop socket service"}},
		{"before an upgrade", "prerm upgrade 2.0.0", "service", "", nil},
		{"behind a removal", "postrm remove", "service", "", []string{"daemon-reload"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
			for name, text := range map[string]string{
				"systemd-sysusers": "#!/bin/sh\n",
				"systemctl": `#!/bin/sh
if [ "$1" = is-enabled ]; then
	for unit in $ENABLED; do [ "$3" != "cache-proxy.$unit" ] || exit 0; done
	exit 1
fi
echo "$*" >>"$DIR/done"
[ "$1" != "$FAILS" ]
`,
			} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
			}
			words := strings.Fields(c.script)
			text, err := os.ReadFile("package/deb-" + words[0])
			require.NoError(t, err)
			enabled := c.enabled
			if strings.Contains(strings.Join(c.want, " "), "enable service") {
				enabled = "service" // by then
			}
			script := strings.ReplaceAll(string(text), "/run/systemd/system", filepath.Join(dir, "run"))
			cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, words[1:]...)...)
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DIR=" + dir, "ENABLED=" + enabled, "FAILS=" + c.fails}
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "dpkg would leave the package half installed: %s", out)
			assert.Equal(t, c.fails != "", strings.Contains(string(out), "does not run"), "%s", out)
			done, _ := os.ReadFile(filepath.Join(dir, "done"))
			var got []string
			for line := range strings.Lines(string(done)) {
				got = append(got, strings.ReplaceAll(strings.TrimSpace(line), "cache-proxy.", ""))
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// A purge leaves nothing but the user, also below another root.
func TestDebianPurge(t *testing.T) {
	root := t.TempDir()
	var links []string
	for _, link := range []string{"multi-user.target.wants/cache-proxy.service", "sockets.target.wants/cache-proxy.socket"} {
		link = filepath.Join(root, "etc/systemd/system", link)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
		require.NoError(t, os.Symlink("/usr/lib/systemd/system/"+filepath.Base(link), link))
		links = append(links, link)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/cache-proxy/data"), 0o755))
	run := func(what string) {
		t.Helper()
		cmd := exec.Command("sh", "package/deb-postrm", what)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DPKG_ROOT=" + root}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("remove")
	assert.DirExists(t, filepath.Join(root, "var/lib/cache-proxy/data"))
	run("purge")
	assert.NoDirExists(t, filepath.Join(root, "var/lib/cache-proxy"))
	for _, link := range links {
		_, err := os.Lstat(link)
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
}
