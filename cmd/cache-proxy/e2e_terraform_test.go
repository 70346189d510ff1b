//go:build e2e

package main

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	integers "math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testTerraform: Terraform with a registry on two mirrors, whose archives are on a
// second host, and with two network mirrors. One of those sends a wrong archive, which
// Terraform does not get to see; then all are stopped, and another machine with
// nothing gets the same.
func testTerraform(t *testing.T, p program) {
	need(t, "terraform")
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	releases := filepath.Join(dir, "releases")
	a, b, s := newMirror(t, www), newMirror(t, www), newMirror(t, releases)
	archive := put(t, zipped(t, "terraform-provider-demo_v1.2.0", "no program, and none is run"), releases, "terraform-provider-demo_1.2.0_linux_amd64.zip")
	content, err := os.ReadFile(archive)
	require.NoError(t, err)
	const provider = "v1/providers/corp/demo"
	put(t, []byte(`{"id":"corp/demo","versions":[{"version":"1.1.0","protocols":["5.0"],"platforms":[]},{"version":"1.2.0","protocols":["5.0"],"platforms":[{"os":"linux","arch":"amd64"}]}],"warnings":null}`), www, provider, "versions")
	put(t, fmt.Appendf(nil, `{"protocols":["5.0"],"os":"linux","arch":"amd64","filename":%q,"download_url":"%s/%s","shasum":"%x"}`,
		filepath.Base(archive), s.url, filepath.Base(archive), sha256.Sum256(content)), www, provider, "1.2.0/download/linux/amd64")
	cert, key := certificate(t, dir)
	// Network mirrors as Terraform would lay them out.
	tree := filepath.Join(dir, "mirrored")
	provided := filepath.Join(tree, "registry.example.org/corp/demo")
	put(t, []byte(`{"versions":{"1.2.0":{}}}`), provided, "index.json")
	put(t, fmt.Appendf(nil, `{"archives":{"linux_amd64":{"hashes":["zh:%x"],"url":%q}}}`, sha256.Sum256(content), filepath.Base(archive)), provided, "1.2.0.json")
	put(t, content, provided, filepath.Base(archive))
	m, n := newMirror(t, tree), newMirror(t, tree)
	wrong := "/registry.example.org/corp/demo/" + filepath.Base(archive)
	m.next(wrong, func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("x"), len(content))) })
	d := p.start(t, dir, fmt.Sprintf(`listen: 127.0.0.1:0
tls: {cert: %s, key: %s}
hubs:
- name: terraform
  type: terraform
  upstream: [{server: %s/v1/providers}, {server: %s/v1/providers}]
  options: {hosts: registry.example.org, files: {releases: %s}}
  race: {mode: ordered}
- name: again
  type: terraform
  upstream: [{server: %s}, {server: %s}]
  race: {mode: ordered}
log: {level: debug}
`, cert, key, a.url, b.url, s.url, m.url, n.url))
	proxy := strings.Replace(d.url, "http://", "https://", 1)

	machine := func(name, hub string) (run func(args ...string) (string, error)) {
		home := filepath.Join(dir, name)
		put(t, []byte("terraform {\n  required_providers {\n    demo = {\n      source  = \"registry.example.org/corp/demo\"\n      version = \"~> 1.1\"\n    }\n  }\n}\n"), home, "main.tf")
		rc := put(t, fmt.Appendf(nil, "disable_checkpoint = true\nprovider_installation {\n  network_mirror {\n    url = \"%s/%s/\"\n  }\n}\n", proxy, hub), home, "terraform.rc")
		env := []string{"TF_CLI_CONFIG_FILE=" + rc, "SSL_CERT_FILE=" + cert, "CHECKPOINT_DISABLE=1"}
		return func(args ...string) (string, error) { return try(t, home, env, "terraform", args...) }
	}
	whole := func(name, hub string) {
		out, err := machine(name, hub)("init", "-no-color", "-input=false")
		require.NoError(t, err, out)
		assert.Contains(t, out, "Installed registry.example.org/corp/demo v1.2.0")
		lock, err := os.ReadFile(filepath.Join(dir, name, ".terraform.lock.hcl"))
		require.NoError(t, err)
		assert.NotContains(t, string(lock), "127.0.0.1")
		_, err = os.Stat(filepath.Join(dir, name, ".terraform/providers/registry.example.org/corp/demo/1.2.0/linux_amd64/terraform-provider-demo_v1.2.0"))
		assert.NoError(t, err)
	}
	whole("first", "terraform")
	assert.Equal(t, 1, s.asked("/"+filepath.Base(archive)))
	assert.Equal(t, 1, a.asked("/"+provider+"/versions"))
	out, err := machine("first", "terraform")("providers", "lock", "-no-color", "-platform=linux_amd64", "-net-mirror="+proxy+"/terraform/")
	require.NoError(t, err, out)

	whole("third", "again")
	assert.Equal(t, 1, m.asked(wrong))
	assert.Equal(t, 1, n.asked(wrong), "the mirror that had it right")
	d.noTemporary()

	a.stop()
	b.stop()
	s.stop()
	m.stop()
	n.stop()
	whole("second", "terraform")
	whole("fourth", "again")
}

// zipped is an archive of one program.
func zipped(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// certificate makes one for this machine, which vouches for itself, and its key.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: integers.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert = put(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), dir, "proxy.crt")
	key = put(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), dir, "proxy.key")
	require.NoError(t, os.Chmod(key, 0o600))
	return cert, key
}
