package cacheproxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What lies in the data directory is what clients are answered with: keys must not,
// and of what tells of clients it is said.
func TestFilesApartFromTheData(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	require.NoError(t, os.MkdirAll(filepath.Join(data, "sub"), 0o755))
	require.NoError(t, os.Symlink(data, filepath.Join(dir, "link")))
	users := "ann:$2y$04$aaaaaaaaaaaaaaaaaaaaaeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
	for _, name := range []string{"data/secret", "data/sub/secret", "secret", "database"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(users), 0o600))
	}
	for _, c := range []struct{ name, config, rejected, warned string }{
		{"keys of ACME", "tls: {acme: {hosts: [a.example.org], cache: DIR/data/acme}}", "tls.acme.cache", ""},
		{"the directory itself", "tls: {acme: {hosts: [a.example.org], cache: DIR/data}}", "tls.acme.cache", ""},
		{"where there is no ACME", "tls: {acme: {cache: DIR/data/acme}}", "", ""},
		{"beside the store's own", "tls: {acme: {hosts: [a.example.org], cache: DIR/data/.meta/acme}}", "", ""},
		{"a name that begins alike", "filters: [{kind: BasicAuth, name: f, htpasswd: DIR/database}]", "", ""},
		{"a key", "tls: {cert: DIR/secret, key: DIR/data/secret}", "tls.key", ""},
		{"by a link", "tls: {cert: DIR/secret, key: DIR/link/sub/secret}", "tls.key", ""},
		{"a mirror's key", "upstream: [{server: 'http://x', client-cert: DIR/secret, client-key: DIR/data/secret}]", "upstream[0].client-key", ""},
		{"of a hub's mirror", "hubs: [{name: h, upstream: [{server: 'http://x', client-cert: DIR/secret, client-key: DIR/data/sub/../secret}]}]", "hubs[0].upstream[0].client-key", ""},
		{"users", "filters: [{kind: BasicAuth, name: f, htpasswd: DIR/data/secret}]", "filters[0].htpasswd", ""},
		{"a secret", "admin: {token: {file: DIR/data/secret}}", "storage.local.path", ""},
		{"a secret elsewhere", "admin: {token: {file: DIR/secret}}", "", ""},
		{"the log", "log: {file: DIR/data/log}", "", "log.file"},
		{"statuses", "status-file: {path: DIR/data/status}", "", "status-file.path"},
		{"an audit", "filters: [{kind: Audit, name: f, file: DIR/data/audit}]", "", "filters[0].file"},
		{"an audit to standard output", "filters: [{kind: Audit, name: f, file: '-'}]", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.ReplaceAll("storage: {local: {path: DIR/data}}\n"+c.config+"\n", "DIR", dir)
			_, warnings, err := parse("config.yaml", []byte(text))
			const lies = "lies in storage.local.path"
			if c.rejected == "" {
				if err != nil {
					assert.NotContains(t, err.Error(), lies)
				}
			} else {
				require.Error(t, err)
				assert.Contains(t, err.Error(), c.rejected+": "+dir)
				assert.Contains(t, err.Error(), lies)
			}
			warned := ""
			for _, w := range warnings {
				if w.Path == c.warned {
					warned = w.Text
				}
			}
			if c.warned != "" {
				assert.Contains(t, warned, lies)
			}
		})
	}
}
