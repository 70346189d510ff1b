//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testHex: rebar3 with a signed repository on two mirrors. One of them sends a wrong
// tarball, which rebar3 does not get to see; then both are stopped, and another
// machine with nothing gets the same.
func testHex(t *testing.T, p program) {
	need(t, "rebar3", "escript")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	a, b := newMirror(t, www), newMirror(t, www)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	putHex(t, www, key, "demo", "leaf", "1.0.0", "1.1.0")
	putHex(t, www, key, "leaf", "", "0.1.0")
	const wrong = "/tarballs/demo-1.1.0.tar"
	a.next(wrong, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("not what was promised")) })
	a.next("/packages/leaf", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in</html>")) })
	d := p.start(t, dir, hubConfig("hex", "hex", a, b)+"  race: {mode: ordered}\n")

	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	whole := func(name string) {
		home := filepath.Join(dir, name)
		put(t, fmt.Appendf(nil, "{hex, [{repos, replace, [#{name => <<\"hub\">>, repo_url => <<\"%s/hex\">>, repo_public_key => <<\"%s\">>}]}]}.\n", d.url, public), home, ".config/rebar3/rebar.config")
		put(t, []byte("{deps, [{demo, \"~> 1.0\"}]}.\n"), home, "rebar.config")
		put(t, []byte("{application, machine, [{vsn, \"0.1.0\"}, {applications, [kernel, stdlib]}]}.\n"), home, "src/machine.app.src")
		for _, args := range [][]string{{"compile"}, {"tree"}, {"upgrade", "--all"}} {
			must(t, home, nil, "rebar3", args...)
		}
		sameFile(t, filepath.Join(www, wrong), filepath.Join(home, ".cache/rebar3/hex/hub/packages/demo-1.1.0.tar"))
		sameFile(t, filepath.Join(www, "tarballs/leaf-0.1.0.tar"), filepath.Join(home, ".cache/rebar3/hex/hub/packages/leaf-0.1.0.tar"))
		lock, err := os.ReadFile(filepath.Join(home, "rebar.lock"))
		require.NoError(t, err)
		assert.Contains(t, string(lock), "1.1.0")
		assert.NotContains(t, string(lock), d.url)
	}
	whole("first")
	assert.Equal(t, 1, a.asked(wrong))
	assert.Equal(t, 1, b.asked(wrong), "the mirror that had it right")
	assert.Equal(t, 1, b.asked("/packages/leaf"), "likewise")
	d.noTemporary()

	a.stop()
	b.stop()
	whole("second")
}

// putHex adds a package to a repository, with a dependency if there is one.
func putHex(t *testing.T, www string, key *rsa.PrivateKey, name, needs string, versions ...string) {
	t.Helper()
	payload := ""
	for _, version := range versions {
		source := map[string]string{
			"src/" + name + ".app.src": fmt.Sprintf("{application, %s, [{vsn, %q}, {applications, [kernel, stdlib]}]}.\n", name, version),
			"src/" + name + ".erl":     fmt.Sprintf("-module(%s).\n", name),
			"rebar.config":             "{deps, []}.\n",
		}
		requirements, dependency := "[]", ""
		if needs != "" {
			source["rebar.config"] = fmt.Sprintf("{deps, [%s]}.\n", needs)
			requirements = fmt.Sprintf("[{<<%q>>, [{<<\"app\">>, <<%[1]q>>}, {<<\"optional\">>, false}, {<<\"requirement\">>, <<\"~> 0.1\">>}]}]", needs)
			dependency = protoField(3, protoField(1, needs)+protoField(2, "~> 0.1"))
		}
		var contents bytes.Buffer
		z := gzip.NewWriter(&contents)
		z.Write(tarOf(t, source))
		require.NoError(t, z.Close())
		metadata := fmt.Sprintf("{<<\"name\">>, <<%q>>}.\n{<<\"app\">>, <<%[1]q>>}.\n{<<\"version\">>, <<%q>>}.\n{<<\"build_tools\">>, [<<\"rebar3\">>]}.\n{<<\"requirements\">>, %s}.\n", name, version, requirements)
		inner := sha256.Sum256([]byte("3" + metadata + contents.String()))
		tarball := tarOf(t, map[string]string{
			"VERSION": "3", "CHECKSUM": fmt.Sprintf("%X", inner), "metadata.config": metadata, "contents.tar.gz": contents.String(),
		})
		outer := sha256.Sum256(tarball)
		put(t, tarball, www, "tarballs", name+"-"+version+".tar")
		payload += protoField(1, protoField(1, version)+protoField(2, string(inner[:]))+dependency+protoField(5, string(outer[:])))
	}
	payload += protoField(2, name) + protoField(3, "hub")
	sum := sha512.Sum512([]byte(payload))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA512, sum[:])
	require.NoError(t, err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(protoField(1, payload) + protoField(2, string(signature))))
	require.NoError(t, z.Close())
	put(t, b.Bytes(), www, "packages", name)
}

// protoField is a field of a message of Protocol Buffers.
func protoField(number uint64, value string) string {
	b := binary.AppendUvarint(nil, number<<3|2)
	return string(binary.AppendUvarint(b, uint64(len(value)))) + value
}

// tarOf is an archive of some files.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
