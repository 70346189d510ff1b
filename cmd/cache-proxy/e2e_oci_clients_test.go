//go:build e2e

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testOCIClients: podman, buildah, containerd and docker pull through hubs from
// the registry of testOCI, each as docs/clients.md sets it up. Then the registry
// is stopped, and each of them, with nothing left, gets the same.
func testOCIClients(t *testing.T, p program) {
	need(t, "skopeo", "docker-registry")
	dir := t.TempDir()
	r := newRegistry(t, dir)
	image := pulled{registry: strings.TrimPrefix(r.front.URL, "http://"), digest: r.push("one", "team/app:latest")}
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: other
  type: oci
  upstream: [{server: 'http://127.0.0.1:1'}]
- name: hub
  type: oci
  upstream:
  - server: `+r.front.URL+`
    username: hub
    password: secret
    allowed-redirect: '^`+r.bucket.URL+`/'
  options: {default: true, ns: registry.example.org}
  cache: {policies: [{match: '/manifests/latest$', refresh-after: 1ms}]}
log: {level: debug}
`)
	image.proxy = strings.TrimPrefix(d.url, "http://")
	var again []func()
	for _, c := range []struct {
		name  string
		pulls func(t, all *testing.T, dir string, image pulled) func(t *testing.T)
	}{
		{"podman", podmanPulls}, {"buildah", buildahPulls}, {"containerd", containerdPulls}, {"docker", dockerPulls},
	} {
		t.Run(c.name, func(sub *testing.T) {
			home := filepath.Join(dir, c.name)
			require.NoError(sub, os.MkdirAll(home, 0o755))
			whole := c.pulls(sub, t, home, image)
			whole(sub)
			again = append(again, func() { t.Run(c.name+" offline", whole) })
		})
	}
	r.stop()
	for _, whole := range again {
		whole()
	}
	d.noTemporary()
}

// pulled is where an image of newImage is to be had.
type pulled struct {
	registry string // host:port, as it would be without the proxy
	proxy    string // host:port
	digest   string // of its index
}

// checkWord checks the only file of the image for amd64, which is mounted.
func checkWord(t *testing.T, mounted string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(mounted, "word"))
	require.NoError(t, err)
	assert.Equal(t, append([]byte("one"), proxytest.Random(300_000, 0).Bytes()...), content)
}

// containersConf writes what podman, buildah and skopeo want to know: that the
// registry has a mirror below the hub's name. It returns the environment for it.
func containersConf(t *testing.T, dir string, image pulled) []string {
	t.Helper()
	put(t, []byte(`[[registry]]
location = "registry.example.org"
[[registry.mirror]]
location = "`+image.proxy+`/hub"
insecure = true
[[registry]]
location = "`+image.proxy+`"
insecure = true
`), dir, "registries.conf")
	put(t, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), dir, "policy.json")
	put(t, []byte("[storage]\ndriver = \"vfs\"\ngraphroot = \""+dir+"/root\"\nrunroot = \""+dir+"/run\"\n"), dir, "storage.conf")
	put(t, []byte("[engine]\nevents_logger = \"none\"\ncgroup_manager = \"cgroupfs\"\n"), dir, "containers.conf")
	return []string{
		"CONTAINERS_REGISTRIES_CONF=" + dir + "/registries.conf", "CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf",
		"CONTAINERS_CONF=" + dir + "/containers.conf", "XDG_RUNTIME_DIR=" + dir,
	}
}

// podmanPulls: by a mirror of registries.conf, and by the proxy's own name.
func podmanPulls(t, _ *testing.T, dir string, image pulled) func(*testing.T) {
	need(t, "podman")
	needRoot(t, "podman here")
	env := containersConf(t, dir, image)
	return func(t *testing.T) {
		for _, name := range []string{"registry.example.org/team/app:latest", image.proxy + "/hub/team/app:latest"} {
			must(t, dir, env, "podman", "pull", "-q", "--signature-policy", dir+"/policy.json", name)
			out := must(t, dir, env, "podman", "image", "inspect", "--format", "{{.RepoDigests}}", name)
			assert.Contains(t, out, image.digest)
			checkWord(t, strings.TrimSpace(must(t, dir, env, "podman", "image", "mount", name)))
			must(t, dir, env, "podman", "image", "umount", name)
			must(t, dir, env, "podman", "rmi", name)
		}
	}
}

// buildahPulls: a container from an image is what it builds on.
func buildahPulls(t, _ *testing.T, dir string, image pulled) func(*testing.T) {
	need(t, "buildah")
	needRoot(t, "buildah here")
	env := append(containersConf(t, dir, image), "BUILDAH_ISOLATION=chroot")
	return func(t *testing.T) {
		name := strings.TrimSpace(must(t, dir, env, "buildah", "from", "-q", "--signature-policy", dir+"/policy.json", "registry.example.org/team/app:latest"))
		checkWord(t, strings.TrimSpace(must(t, dir, env, "buildah", "mount", name)))
		must(t, dir, env, "buildah", "rm", name)
		must(t, dir, env, "buildah", "rmi", "--all")
	}
}

// containerdPulls: containerd and its ctr, with hosts.toml, which make it send
// ?ns=. The registry that options.ns names and the one that is an upstream both
// lead to the hub; any other is refused.
func containerdPulls(t, all *testing.T, dir string, image pulled) func(*testing.T) {
	need(t, "containerd", "ctr")
	needRoot(t, "containerd")
	const hosts = "hosts"
	for _, registry := range []string{"registry.example.org", image.registry, "elsewhere.example.org"} {
		put(t, []byte("server = \"http://127.0.0.1:1\"\n[host.\"http://"+image.proxy+"\"]\ncapabilities = [\"pull\", \"resolve\"]\n"), dir, hosts, registry, "hosts.toml")
	}
	put(t, []byte("server = \"http://127.0.0.1:1\"\n[host.\"http://"+image.proxy+"/v2/hub\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n"),
		dir, hosts, "path.example.org", "hosts.toml")
	socket := shortSocket(all)
	put(t, []byte("version = 2\nroot = \""+dir+"/root\"\nstate = \""+dir+"/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \""+socket+"\"\n"),
		dir, "config.toml")
	background(all, dir, "containerd", "--config", filepath.Join(dir, "config.toml"))
	ctr := func(t *testing.T, args ...string) (string, error) {
		return try(t, dir, nil, "ctr", append([]string{"--address", socket}, args...)...)
	}
	require.Eventually(t, func() bool { _, err := ctr(t, "version"); return err == nil }, 10*time.Second, 50*time.Millisecond, "containerd does not answer")
	pull := []string{"images", "pull", "--snapshotter", "native", "--platform", "linux/amd64", "--hosts-dir", filepath.Join(dir, hosts)}
	return func(t *testing.T) {
		for _, registry := range []string{"registry.example.org", image.registry, "path.example.org"} {
			name := registry + "/team/app:latest"
			out, err := ctr(t, append(pull, name)...)
			require.NoError(t, err, out)
			out, err = ctr(t, "images", "ls", "name=="+name)
			require.NoError(t, err, out)
			assert.Contains(t, out, image.digest)
			mounted := filepath.Join(dir, "mounted")
			require.NoError(t, os.MkdirAll(mounted, 0o755))
			out, err = ctr(t, "images", "mount", "--snapshotter", "native", "--platform", "linux/amd64", name, mounted)
			require.NoError(t, err, out)
			checkWord(t, mounted)
			out, err = ctr(t, "images", "unmount", "--rm", "--snapshotter", "native", mounted)
			assert.NoError(t, err, out)
			out, err = ctr(t, "images", "rm", "--sync", name)
			require.NoError(t, err, out)
		}
		out, err := ctr(t, append(pull, "elsewhere.example.org/team/app:latest")...)
		assert.Error(t, err)
		assert.NotContains(t, out, "done")
		resp, err := http.Get("http://" + image.proxy + "/v2/team/app/manifests/latest?ns=elsewhere.example.org")
		require.NoError(t, err)
		defer resp.Body.Close()
		var refused struct {
			Errors []struct{ Code, Message string }
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&refused))
		require.Len(t, refused.Errors, 1)
		assert.Equal(t, "NAME_UNKNOWN", refused.Errors[0].Code)
		assert.Contains(t, refused.Errors[0].Message, "elsewhere.example.org")
	}
}

// dockerPulls: docker's daemon with a mirror of all that names no registry, and
// by the proxy's own name.
func dockerPulls(t, all *testing.T, dir string, image pulled) func(*testing.T) {
	need(t, "docker", "dockerd", "containerd", "runc")
	needRoot(t, "dockerd")
	socket := "unix://" + shortSocket(all)
	put(t, []byte(`{"registry-mirrors":["http://`+image.proxy+`"],"insecure-registries":["`+image.proxy+`"]}`), dir, "daemon.json")
	log := background(all, dir, "dockerd", "--config-file", dir+"/daemon.json", "--data-root", dir+"/data", "--exec-root", filepath.Dir(shortSocket(all)),
		"--pidfile", dir+"/pid", "--host", socket, "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs")
	docker := func(t *testing.T, args ...string) (string, error) {
		return try(t, dir, nil, "docker", append([]string{"--host", socket}, args...)...)
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err := docker(t, "version"); err == nil {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Skipf("dockerd does not run here:\n%s", log.tail())
		}
	}
	return func(t *testing.T) {
		for _, name := range []string{"team/app:latest", image.proxy + "/hub/team/app:latest"} {
			out, err := docker(t, "pull", "-q", name)
			require.NoError(t, err, out)
			out, err = docker(t, "image", "inspect", "--format", "{{.RepoDigests}}", name)
			require.NoError(t, err, out)
			assert.Contains(t, out, image.digest)
			out, err = docker(t, "rmi", name)
			require.NoError(t, err, out)
		}
	}
}

// shortSocket is a path for a socket in a directory of the test, shorter than
// those of t.TempDir: there are 108 bytes for one.
func shortSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// background runs a program until the test is over.
func background(t *testing.T, dir, name string, args ...string) *output {
	t.Helper()
	log := newOutput()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, clean(dir), log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, log.tail())
		}
	})
	return log
}
