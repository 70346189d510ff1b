package cacheproxy

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMeaning(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	c, _ := must(t, `
upstream: [{server: 'http://x.example.org'}]
hubs:
- {name: npm, type: npm, upstream: [{server: 'http://npm.example.org'}]}
- {name: pypi, type: pypi, hosts: [pypi.lan], options: {files: {f: 'http://files.example.org'}}, upstream: [{server: 'http://pypi.example.org'}]}
- {name: go, type: go, upstream: [{server: 'http://go.example.org'}]}
- {name: debian, type: apt, upstream: [{server: 'http://deb.example.org/debian'}]}
- {name: docker, type: oci, options: {library: true, default: true}, upstream: [{server: 'http://docker.example.org'}]}
- {name: other, type: oci, upstream: [{server: 'http://other.example.org'}]}
`)
	for _, tt := range []struct{ name, url, hub, path, digest string }{
		{"a file of the default hub", "/gnu/x.tar.gz", "default", "/gnu/x.tar.gz", ""},
		{"a package of npm", "/npm/left-pad", "npm", "/left-pad", ""},
		{"a scope, its slash escaped", "/npm/@a%2fb", "npm", "/@a/b", ""},
		{"a scope", "http://cache.lan:8881/npm/@a/b", "npm", "/@a/b", ""},
		{"a project of any spelling", "/pypi/simple/My.Name/", "pypi", "/simple/my-name/", ""},
		{"a hub by its host", "http://pypi.lan:8881/simple/my_name/", "pypi", "/simple/my-name/", ""},
		{"a file of a second host", "/pypi/_f/f/a/b.whl", "pypi", "/_f/f/a/b.whl", ""},
		{"a module", "/go/example.org/!m/@v/list", "go", "/example.org/!m/@v/list", ""},
		{"a package of Debian", "/debian/pool/main/b/bash/bash_5.2-1_amd64.deb", "debian", "/pool/main/b/bash/bash_5.2-1_amd64.deb", ""},
		{"an image of the default registry", "/v2/alpine/manifests/latest", "docker", "/v2/library/alpine/manifests/latest", ""},
		{"an image of a hub by name", "/v2/other/a/b/manifests/v1", "other", "/v2/a/b/manifests/v1", ""},
		{"a blob", "/v2/docker/library/alpine/blobs/" + digest, "docker", "/v2/_/blobs/" + digest, digest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			require.NoError(t, err)
			m, err := c.Meaning(u)
			require.NoError(t, err)
			assert.Equal(t, tt.hub, m.Hub.Name)
			assert.Equal(t, tt.path, m.Path)
			assert.Equal(t, tt.digest, m.Digest)
			assert.True(t, strings.HasPrefix(m.Target, "/"), m.Target)
		})
	}
	for _, at := range []string{"/npm/%2e%2e/x", "/pypi/none/x", "/v2/x/y"} {
		u, err := url.Parse(at)
		require.NoError(t, err)
		_, err = c.Meaning(u)
		assert.Error(t, err, at)
	}
	u, _ := url.Parse("/pypi/none/x")
	_, err := c.Meaning(u)
	assert.True(t, errors.Is(err, fs.ErrNotExist), "%v", err)
}
