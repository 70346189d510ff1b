package cacheproxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"
)

// TestACME: with names instead of a certificate there is one for each of them,
// from the directory where they are kept, and for none else; challenges are
// answered without TLS. The authority itself is not asked here.
func TestACME(t *testing.T) {
	dir := t.TempDir()
	text := "listen: ':80'\ntls: {listen: ':443', acme: {hosts: [cache.example.org], cache: " + dir + ", directory: 'https://127.0.0.1:1/'}}\nupstream: [{" + server + "}]"
	s := serverOf(t, text, io.Discard)
	c := s.revision().tls.config
	assert.Equal(t, []string{"h2", "http/1.1", acme.ALPNProto}, c.NextProtos)
	assert.EqualValues(t, tls.VersionTLS12, c.MinVersion)
	_, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: "evil.example.org"})
	assert.ErrorContains(t, err, "not configured")
	_, err = c.GetCertificate(&tls.ClientHelloInfo{ServerName: "cache.example.org"})
	assert.ErrorContains(t, err, "127.0.0.1:1", "the directory that was configured is asked")

	// autocert keeps the answer to a challenge where it keeps certificates.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token+http-01"), []byte("token.thumbprint"), 0o600))
	challenge := func() *httptest.ResponseRecorder {
		return ask(s, "GET", challengePath+"token", "Host", "cache.example.org")
	}
	w := challenge()
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "token.thumbprint", w.Body.String())
	assert.Equal(t, http.StatusForbidden, ask(s, "GET", challengePath+"token", "Host", "evil.example.org").Code)

	before := s.revision().tls
	again, _ := must(t, text)
	again.Storage.Local = s.revision().config.Storage.Local
	require.NoError(t, s.Reload(again))
	assert.Same(t, before, s.revision().tls, "which renews certificates, goes on")
}
