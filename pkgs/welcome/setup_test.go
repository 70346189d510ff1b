package welcome_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/welcome"
)

var update = flag.Bool("update", false, "write what setup.sh does into testdata")

func site() *welcome.Site {
	return welcome.New([]welcome.Hub{
		{Name: "debian", Type: "apt", Path: "/debian"},
		{Name: "debian-security", Type: "apt", Path: "/debian-security"},
		{Name: "ubuntu", Type: "apt", Path: "/os/ubuntu"},
		{Name: "fedora", Type: "rpm", Path: "/fedora"},
		{Name: "rocky", Type: "rpm", Path: "/rocky", Names: []string{"rockylinux"}},
		{Name: "alpine", Type: "apk", Path: "/alpine"},
		{Name: "archlinux", Type: "pacman", Path: "/archlinux"},
		{Name: "pypi", Type: "pypi", Path: "/pypi"},
		{Name: "npm", Type: "npm", Path: "/npm"},
		{Name: "go", Type: "go", Path: "/go"},
		{Name: "cargo", Type: "cargo", Path: "/cargo"},
		{Name: "maven", Type: "maven", Path: "/maven"},
		{Name: "hub", Type: "oci", Path: "/hub", Default: true},
	})
}

// A shell runs the script with the tools that belong to it.
type shell struct {
	name string
	args []string
	path string
}

// shells are those of this machine; busybox with nothing but its own tools.
func shells(t *testing.T) (all []shell) {
	t.Helper()
	for _, name := range []string{"dash", "sh"} {
		if found, err := exec.LookPath(name); err == nil {
			all = append(all, shell{name, []string{found}, os.Getenv("PATH")})
			break
		}
	}
	if box, err := exec.LookPath("busybox"); err == nil {
		dir := t.TempDir()
		for tool := range strings.FieldsSeq("awk cat cksum cmp cp cut diff grep head id ln mkdir mktemp mv readlink rm rmdir sed sort stat touch tr uname cksum md5sum") {
			if exec.Command(box, tool, "--help").Run() == nil {
				require.NoError(t, os.Symlink(box, filepath.Join(dir, tool)))
			}
		}
		for _, tool := range []string{"curl", "wget"} { // Debian's static one cannot resolve names
			if found, err := exec.LookPath(tool); err == nil {
				require.NoError(t, os.Symlink(found, filepath.Join(dir, tool)))
			}
		}
		all = append(all, shell{"busybox", []string{box, "sh"}, dir})
	} else {
		t.Log("busybox is not installed")
	}
	require.NotEmpty(t, all)
	return all
}

// run feeds the script to a shell, as curl does.
func (s shell) run(t *testing.T, script []byte, args ...string) (said string, err error) {
	t.Helper()
	cmd := exec.Command(s.args[0], slices.Concat(s.args[1:], []string{"-s", "--"}, args)...)
	cmd.Stdin = bytes.NewReader(script)
	cmd.Env = []string{"PATH=" + s.path, "HOME=/root", "LC_ALL=C", "TMPDIR=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A file of testdata is a tree before the script came, what it is after, and what
// the script said. Its parts begin with lines "-- WHAT NAME --".
type golden struct {
	args   []string
	before []part
	after  map[string]string
	said   string
}

type part struct{ name, text string }

func read(t *testing.T, name string) (g golden) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	g.after = map[string]string{}
	for _, section := range strings.Split("\n"+string(text), "\n-- ")[1:] {
		head, body, ok := strings.Cut(section, " --\n")
		if !ok {
			head, ok = strings.CutSuffix(section, " --")
		}
		require.True(t, ok, section)
		if body != "" {
			body = strings.TrimSuffix(body, "\n") + "\n"
		}
		switch what, name, _ := strings.Cut(head, " "); what {
		case "args":
			g.args = strings.Fields(name)
		case "before":
			g.before = append(g.before, part{name, strings.ReplaceAll(body, "(no end)\n", "")})
		case "after":
			g.after[name] = body
		case "said":
			g.said = body
		default:
			t.Fatal(head)
		}
	}
	return g
}

func (g golden) write(t *testing.T, name string) {
	t.Helper()
	var b strings.Builder
	if len(g.args) > 0 {
		fmt.Fprintf(&b, "-- args %s --\n", strings.Join(g.args, " "))
	}
	for _, p := range g.before {
		text := p.text
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "(no end)\n"
		}
		fmt.Fprintf(&b, "-- before %s --\n%s", p.name, text)
	}
	names := []string{}
	for name := range g.after {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "-- after %s --\n%s", name, g.after[name])
	}
	fmt.Fprintf(&b, "-- said --\n%s", g.said)
	require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o644))
}

// A state is everything of a tree that a program could notice but directories' times.
type state map[string]string

func snapshot(t *testing.T, root string) state {
	t.Helper()
	all := state{}
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		rel, err := filepath.Rel(root, name)
		require.NoError(t, err)
		switch {
		case d.IsDir():
			all[rel] = info.Mode().String()
		case info.Mode().IsRegular():
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			all[rel] = fmt.Sprintf("%v %v %q", info.Mode(), info.ModTime().UnixNano(), text)
		default:
			to, err := os.Readlink(name)
			require.NoError(t, err)
			all[rel] = "-> " + to
		}
		return nil
	}))
	return all
}

// populate makes a root directory, each file with a mode and time of its own.
func populate(t *testing.T, before []part) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib"), 0o755))
	for i, p := range before {
		name := filepath.Join(root, p.name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(p.text), 0o600))
		mode := fs.FileMode([]int{0o644, 0o640, 0o600, 0o664}[i%4])
		if strings.Contains(p.name, "/bin/") || strings.Contains(p.name, "/methods/") {
			mode = 0o755
		}
		require.NoError(t, os.Chmod(name, mode))
		when := time.Unix(1_600_000_000+int64(i)*1000, 123_456_789)
		require.NoError(t, os.Chtimes(name, when, when))
	}
	return root
}

// cache is a server that has everything whose path does not say otherwise, and the
// script for it. In testdata its host is cache.lan:8881.
func cache(t *testing.T) (host string, script []byte) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "absent") {
			http.NotFound(w, r)
		} else if r.URL.Path == "/-/setup.sh" {
			w.Write(script)
		}
	}))
	t.Cleanup(server.Close)
	host = strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "0.0.0.0", 1) // no loopback by its name
	script, err := site().Script("http://" + host)
	require.NoError(t, err)
	return host, script
}

// TestSetup runs the script in a throw-away root for each file of testdata: first
// only looking, then twice, and then back.
func TestSetup(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := shells(t)
	for _, name := range files {
		for i, sh := range all {
			t.Run(strings.TrimSuffix(filepath.Base(name), ".txt")+"/"+sh.name, func(t *testing.T) {
				t.Parallel()
				testSetup(t, sh, name, *update && i == 0)
			})
		}
	}
}

func testSetup(t *testing.T, sh shell, name string, write bool) {
	g := read(t, name)
	host, script := cache(t)
	root := populate(t, g.before)
	clean := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, host, "cache.lan:8881"), root, "")
	}
	args := append([]string{"--root", root}, g.args...)
	first := snapshot(t, root)

	said, err := sh.run(t, script, append(args, "--dry-run")...)
	require.NoError(t, err, said)
	assert.Equal(t, first, snapshot(t, root), "a dry run does nothing")

	said, err = sh.run(t, script, args...)
	require.NoError(t, err, said)
	said = clean(said)
	second := snapshot(t, root)
	after := map[string]string{}
	for name, now := range second {
		if before := first[name]; now != before && !strings.HasPrefix(now, "d") && !strings.HasPrefix(name, "var/lib/") && !strings.HasPrefix(name, "root/.local/state/") {
			text, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			after[name] = clean(string(text))
			if before != "" {
				assert.Equal(t, strings.Fields(before)[0], strings.Fields(now)[0], "the mode of %s stays", name)
			}
		}
	}
	if write {
		g.after, g.said = after, said
		g.write(t, name)
	}
	assert.Equal(t, g.after, after)
	assert.Equal(t, g.said, said)

	again, err := sh.run(t, script, args...)
	require.NoError(t, err, again)
	assert.Equal(t, second, snapshot(t, root), "a second time changes nothing:\n%s", again)

	back, err := sh.run(t, script, append([]string{"--undo"}, args...)...)
	require.NoError(t, err, back)
	assert.Equal(t, first, snapshot(t, root), "undone, everything is what it was:\n%s", back)
}

// TestUndo is what undoing leaves alone, and what it puts back bit by bit.
func TestUndo(t *testing.T) {
	_, script := cache(t)
	for _, sh := range shells(t) {
		t.Run(sh.name, func(t *testing.T) {
			t.Parallel()
			root := populate(t, []part{
				{"usr/bin/npm", ""}, {"usr/bin/go", ""}, {"usr/bin/pip", ""},
				{"etc/npmrc", "fund=false\n"}, {"etc/pip.conf", "[global]\ntimeout = 60\n"},
			})
			first := snapshot(t, root)
			run := func(args ...string) string {
				t.Helper()
				said, err := sh.run(t, script, append([]string{"--root", root}, args...)...)
				require.NoError(t, err, said)
				return said
			}
			assert.Contains(t, run("--undo"), "nothing was set up here")
			assert.Equal(t, first, snapshot(t, root))

			run()
			saved, err := os.ReadFile(filepath.Join(root, "var/lib/cache-proxy-setup/setup.sh"))
			require.NoError(t, err, "for when the cache is gone")
			assert.Equal(t, string(script), string(saved))
			require.NoError(t, os.WriteFile(filepath.Join(root, "etc/npmrc"), []byte("mine now\n"), 0o644))
			run("--undo", "--only", "pip,go")
			now := snapshot(t, root)
			assert.Equal(t, first["etc/pip.conf"], now["etc/pip.conf"])
			assert.NotContains(t, now, "root")
			assert.Contains(t, now["etc/npmrc"], "mine now")

			said := run("--undo")
			assert.Contains(t, said, "was changed since")
			assert.Contains(t, snapshot(t, root)["etc/npmrc"], "mine now", "what somebody wrote after is theirs")
			said = run()
			assert.Contains(t, said, "npm: "+filepath.Join(root, "etc/npmrc")+" was changed since it was set up")
			assert.Contains(t, snapshot(t, root)["etc/npmrc"], "mine now")

			kept, err := os.ReadFile(filepath.Join(root, "var/lib/cache-proxy-setup/1"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(root, "etc/npmrc"), kept, 0o640))
			run("--undo")
			now = snapshot(t, root)
			delete(now, "etc/npmrc")
			delete(first, "etc/npmrc")
			assert.Equal(t, first, now, "and nothing else is left")
		})
	}
}

// TestPartOfScript: a download that ends early does nothing at all.
func TestPartOfScript(t *testing.T) {
	_, script := cache(t)
	sh := shells(t)[0]
	root := populate(t, []part{{"usr/bin/npm", ""}})
	first := snapshot(t, root)
	for cut := 100; cut < len(script)-len("main \"$@\"\n"); cut += 997 {
		sh.run(t, script[:cut], "--root", root)
	}
	assert.Equal(t, first, snapshot(t, root))
}

// TestAddress: another address of the cache, or none of its hubs, later.
func TestAddress(t *testing.T) {
	_, one := cache(t)
	host, two := cache(t)
	sh := shells(t)[0]
	root := populate(t, []part{{"usr/bin/npm", ""}, {"etc/npmrc", "fund=false\n"}})
	first := snapshot(t, root)
	for _, script := range [][]byte{one, two} {
		said, err := sh.run(t, script, "--root", root)
		require.NoError(t, err, said)
	}
	text, err := os.ReadFile(filepath.Join(root, "etc/npmrc"))
	require.NoError(t, err)
	assert.Equal(t, "fund=false\nregistry=http://"+host+"/npm/\n", string(text))
	said, err := sh.run(t, one, "--root", root, "--undo")
	require.NoError(t, err, said)
	assert.Equal(t, first, snapshot(t, root))
}

// TestLink: a link of a root directory may lead out of it, so what it names is left alone.
func TestLink(t *testing.T) {
	_, script := cache(t)
	outside := filepath.Join(t.TempDir(), "npmrc")
	require.NoError(t, os.WriteFile(outside, []byte("fund=false\n"), 0o644))
	root := populate(t, []part{{"usr/bin/npm", ""}, {"etc/x", ""}})
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "etc/npmrc")))
	for _, sh := range shells(t) {
		said, err := sh.run(t, script, "--root", root)
		require.NoError(t, err, said)
		assert.Contains(t, said, "is a link")
	}
	text, err := os.ReadFile(outside)
	require.NoError(t, err)
	assert.Equal(t, "fund=false\n", string(text))
}

func TestOptions(t *testing.T) {
	_, script := cache(t)
	for _, sh := range shells(t) {
		for _, args := range [][]string{{"--nonsense"}, {"--only", "apt,nonsense"}, {"--root", "relative"}, {"--only"}} {
			said, err := sh.run(t, script, args...)
			assert.Error(t, err, "%v: %s", args, said)
			assert.Contains(t, said, "setup.sh: ")
		}
		said, err := sh.run(t, script, "--help")
		require.NoError(t, err)
		assert.Contains(t, said, "--dry-run")
	}
}

func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed")
	}
	out, err := exec.Command("shellcheck", "-s", "sh", "setup.sh", "detect.sh").CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
