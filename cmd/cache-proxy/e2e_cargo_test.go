//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testCargo: cargo with a sparse registry on two mirrors. One of them sends a
// wrong crate, which cargo does not get to see; then both are stopped, and another
// machine with nothing gets the same.
func testCargo(t *testing.T, p program) {
	need(t, "cargo")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	a, b := newMirror(t, www), newMirror(t, www)
	put(t, fmt.Appendf(nil, `{"dl": "%[1]s/crates/{lowerprefix}/{crate}/{version}.crate", "api": "%[1]s", "auth-required": true}`, a.url), www, "config.json")
	put(t, []byte(`{"crates":[{"name":"abc","max_version":"2.0.0","description":"found"}],"meta":{"total":1}}`), www, "api/v1/crates")
	putCrate(t, www, "leaf", "1.0.0", "")
	putCrate(t, www, "My-Crate", "0.3.0+build.5", "leaf")
	putCrate(t, www, "abc", "2.0.0", "My-Crate")
	const wrong = "/crates/3/a/abc/2.0.0.crate"
	a.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("not what was promised")) })
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
- name: cargo
  type: cargo
  upstream: [{server: `+a.url+`}, {server: `+b.url+`}]
  race: {mode: ordered}
  cache: {policies: [{match: '^/(config\.json|./.*|../.*)$', refresh-after: 1ms}]}
log: {level: debug}
`)

	machine := func(name string) (run func(args ...string) (string, error)) {
		home := filepath.Join(dir, name)
		put(t, []byte("[package]\nname = \"machine\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nabc = \"2\"\n"), home, "Cargo.toml")
		put(t, nil, home, "src/lib.rs")
		put(t, []byte("[source.crates-io]\nreplace-with = \"hub\"\n[source.hub]\nregistry = \"sparse+"+d.url+"/cargo/\"\n[registries.hub]\nindex = \"sparse+"+d.url+"/cargo/\"\n"), home, "cargo/config.toml")
		env := []string{"CARGO_HOME=" + filepath.Join(home, "cargo"), "CARGO_NET_RETRY=1", "CARGO_TERM_COLOR=never"}
		if rustup := os.Getenv("RUSTUP_HOME"); rustup != "" {
			env = append(env, "RUSTUP_HOME="+rustup)
		} else if home, err := os.UserHomeDir(); err == nil {
			env = append(env, "RUSTUP_HOME="+filepath.Join(home, ".rustup"))
		}
		return func(args ...string) (string, error) { return try(t, home, env, "cargo", args...) }
	}
	whole := func(name string) {
		run := machine(name)
		for _, args := range []string{"fetch", "update", "fetch --locked", "metadata --offline --format-version 1"} {
			out, err := run(strings.Fields(args)...)
			require.NoError(t, err, "cargo %s:\n%s", args, out)
		}
		for _, c := range []struct{ file, crate string }{
			{"abc-2.0.0.crate", wrong}, {"My-Crate-0.3.0+build.5.crate", "/crates/my/-c/My-Crate/0.3.0+build.5.crate"},
		} {
			got, err := filepath.Glob(filepath.Join(dir, name, "cargo/registry/cache/*", c.file))
			require.NoError(t, err)
			require.Len(t, got, 1)
			sameFile(t, filepath.Join(www, c.crate), got[0])
		}
		lock, err := os.ReadFile(filepath.Join(dir, name, "Cargo.lock"))
		require.NoError(t, err)
		assert.NotContains(t, string(lock), d.url, "the lock file names the official source")
	}
	whole("first")
	out, err := machine("first")("search", "--registry", "hub", "abc")
	require.NoError(t, err, out)
	assert.Contains(t, out, `abc = "2.0.0"`)
	assert.Equal(t, 1, a.asked(wrong))
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	d.noTemporary()

	a.stop()
	b.stop()
	whole("second")
}

// putCrate adds a crate to a registry, with a dependency if there is one.
func putCrate(t *testing.T, www, name, version, needs string) {
	t.Helper()
	toml := fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n", name, version)
	deps := []map[string]any{}
	if needs != "" {
		toml += fmt.Sprintf("[dependencies]\n%s = \"*\"\n", needs)
		deps = append(deps, map[string]any{
			"name": needs, "req": "*", "features": []string{}, "optional": false, "default_features": true, "target": nil, "kind": "normal",
		})
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	archive := tar.NewWriter(z)
	for _, f := range []struct{ name, text string }{{"Cargo.toml", toml}, {"src/lib.rs", ""}} {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name + "-" + version + "/" + f.name, Mode: 0o644, Size: int64(len(f.text))}))
		_, err := io.WriteString(archive, f.text)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, z.Close())
	line, err := json.Marshal(map[string]any{
		"name": name, "vers": version, "deps": deps, "cksum": fmt.Sprintf("%x", sha256.Sum256(b.Bytes())), "features": map[string]any{}, "yanked": false,
	})
	require.NoError(t, err)
	lower := strings.ToLower(name)
	at := filepath.Join("3", lower[:1])
	if len(lower) > 3 {
		at = filepath.Join(lower[:2], lower[2:4])
	}
	put(t, append(line, '\n'), www, at, lower)
	put(t, b.Bytes(), www, "crates", at, name, version+".crate")
}
