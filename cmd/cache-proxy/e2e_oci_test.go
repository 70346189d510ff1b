//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// testOCI: skopeo and docker pull through a hub from a registry that wants tokens
// and has its blobs elsewhere. A tag that moves is followed; then everything
// upstream is stopped, and a machine with nothing gets the same.
func testOCI(t *testing.T, p program) {
	need(t, "skopeo", "docker-registry")
	dir := t.TempDir()
	r := newRegistry(t, dir)
	first := r.push("one", "team/app:latest")
	r.push("one", "team/app:1.0")
	r.push("one", "team/app:1.1")
	d := p.start(t, dir, `listen: 127.0.0.1:0
hubs:
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
	host := strings.TrimPrefix(d.url, "http://")
	image := "docker://" + host + "/hub/team/app:latest"
	pull := func(name string, env ...string) string {
		t.Helper()
		home := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(home, 0o755))
		must(t, home, env, "skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", image, "oci:image:latest")
		return r.checked(filepath.Join(home, "image"))
	}

	assert.Equal(t, first, pull("first"))
	asked := r.asked()
	assert.NotZero(t, asked["token"])
	assert.NotZero(t, asked["challenge"])
	assert.Zero(t, asked["GET /v2/team/app/manifests/latest"], "a tag costs no pull")
	assert.NotZero(t, asked["HEAD /v2/team/app/manifests/latest"])
	for path, n := range asked {
		if strings.HasPrefix(path, "GET") && strings.Contains(path, "sha256:") {
			assert.Equal(t, 1, n, path)
		}
	}
	assert.Equal(t, first, pull("again"))
	for path, n := range r.asked() {
		assert.False(t, strings.HasPrefix(path, "GET") && strings.Contains(path, "sha256:"), "%s %d: it is all here", path, n)
	}

	second := r.push("two", "team/app:latest")
	assert.NotEqual(t, first, second)
	assert.Equal(t, second, pull("moved"))

	out := must(t, dir, nil, "skopeo", "list-tags", "--tls-verify=false", "docker://"+host+"/hub/team/app")
	var list struct{ Tags []string }
	require.NoError(t, json.Unmarshal([]byte(out), &list), out)
	assert.Equal(t, []string{"1.0", "1.1", "latest"}, list.Tags, "over three pages")

	out, err := try(t, dir, nil, "skopeo", "inspect", "--tls-verify=false", "docker://"+host+"/hub/team/app:none")
	assert.Error(t, err)
	assert.Contains(t, out, "manifest unknown")

	// As containerd asks: it resolves by HEAD, and says which registry it means.
	resp, err := http.Head(d.url + "/v2/team/app/manifests/latest?ns=registry.example.org")
	require.NoError(t, err)
	assert.Equal(t, second, resp.Header.Get("Docker-Content-Digest"))
	resp, _ = d.mustGet("/v2/team/app/manifests/" + second + "?ns=registry.example.org")
	assert.Equal(t, "HIT", resp.Header.Get("X-Cache"))
	resp, _ = d.mustGet("/v2/team/app/manifests/" + second + "?ns=elsewhere.example.org")
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)

	r.stop()
	assert.Equal(t, second, pull("offline"))
	d.noTemporary()

	t.Run("docker", func(t *testing.T) {
		need(t, "docker")
		for _, name := range []string{host + "/hub/team/app:latest", host + "/team/app:latest"} {
			out := must(t, dir, nil, "docker", "manifest", "inspect", "--insecure", name)
			assert.Contains(t, out, "arm64", name)
		}
	})
}

// A registry is Debian's docker-registry behind a front that wants tokens and
// sends those who want blobs to a bucket.
type registry struct {
	t             *testing.T
	dir           string
	url           string // of docker-registry itself
	front, bucket *httptest.Server
	stop          func()

	mu     sync.Mutex
	counts map[string]int // guarded by mu: "GET /path", "token", "challenge"
}

func newRegistry(t *testing.T, dir string) *registry {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	file := put(t, fmt.Appendf(nil, "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n",
		filepath.Join(dir, "registry"), addr), dir, "registry.yml")
	cmd := exec.Command("docker-registry", "serve", file)
	cmd.Env = clean(dir)
	require.NoError(t, cmd.Start())
	r := &registry{t: t, dir: dir, url: "http://" + addr, counts: map[string]int{}}
	r.front = httptest.NewServer(http.HandlerFunc(r.serve))
	r.bucket = httptest.NewServer(http.HandlerFunc(r.serveBlob))
	r.stop = sync.OnceFunc(func() {
		r.front.Close()
		r.bucket.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(r.stop)
	require.Eventually(t, func() bool {
		resp, err := http.Get(r.url + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, "docker-registry does not answer")
	return r
}

// asked is what was asked since the last time.
func (r *registry) asked() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.counts
	r.counts = map[string]int{}
	return counts
}

func (r *registry) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	const token = "a-token-for-team/app"
	authorization := req.Header.Get("Authorization")
	if req.URL.Path == "/token" {
		r.count("token")
		user, password, _ := req.BasicAuth()
		if user != "hub" || password != "secret" || req.URL.Query().Get("service") != "e2e" ||
			req.URL.Query().Get("scope") != "repository:team/app:pull" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		// Issued long ago, by a clock that is behind.
		fmt.Fprintf(w, `{"token":%q,"expires_in":300,"issued_at":"2001-01-01T00:00:00Z"}`, token)
		return
	}
	if authorization != "Bearer "+token {
		assert.Empty(r.t, authorization, "the password is for the token's server")
		r.count("challenge")
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="e2e"`, r.front.URL)) // without a scope
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	r.count(req.Method + " " + req.URL.Path)
	switch {
	case strings.Contains(req.URL.Path, "/blobs/"):
		http.Redirect(w, req, r.bucket.URL+"/bucket"+req.URL.Path+"?signature=SECRET", http.StatusTemporaryRedirect)
	case strings.HasSuffix(req.URL.Path, "/tags/list"):
		r.servePage(w, req)
	default:
		r.proxy(w, req)
	}
}

// servePage answers with one tag a page, which docker-registry cannot.
func (r *registry) servePage(w http.ResponseWriter, req *http.Request) {
	next := map[string]string{"": "1.0", "1.0": "1.1", "1.1": "latest"}
	tag := next[req.URL.Query().Get("last")]
	if next[tag] != "" {
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s&n=1>; rel="next"`, req.URL.Path, tag))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"name":"team/app","tags":[%q]}`, tag)
}

func (r *registry) serveBlob(w http.ResponseWriter, req *http.Request) {
	assert.Empty(r.t, req.Header.Get("Authorization"), "the token stays at the registry")
	assert.Equal(r.t, "SECRET", req.URL.Query().Get("signature"))
	req.URL.Path, req.URL.RawQuery = strings.TrimPrefix(req.URL.Path, "/bucket"), ""
	r.proxy(w, req)
}

func (r *registry) proxy(w http.ResponseWriter, req *http.Request) {
	u, _ := url.Parse(r.url)
	req.Header.Del("Authorization")
	httputil.NewSingleHostReverseProxy(u).ServeHTTP(w, req)
}

// push makes an image for two platforms, whose layers hold word, and returns the
// digest of its index.
func (r *registry) push(word, name string) string {
	r.t.Helper()
	layout := filepath.Join(r.dir, "layout-"+word)
	digest := newImage(r.t, layout, word)
	must(r.t, r.dir, nil, "skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false",
		"oci:"+layout+":latest", "docker://"+strings.TrimPrefix(r.url, "http://")+"/"+name)
	return digest
}

// checked is the digest of what an OCI layout holds, every blob of which is what
// its name says.
func (r *registry) checked(layout string) string {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
	require.NoError(r.t, err)
	assert.Len(r.t, all, 7, "an index, two manifests, two configurations, two layers")
	for _, name := range all {
		content, err := os.ReadFile(name)
		require.NoError(r.t, err)
		sum := sha256.Sum256(content)
		assert.Equal(r.t, filepath.Base(name), hex.EncodeToString(sum[:]))
	}
	var index struct{ Manifests []struct{ Digest string } }
	content, err := os.ReadFile(filepath.Join(layout, "index.json"))
	require.NoError(r.t, err)
	require.NoError(r.t, json.Unmarshal(content, &index))
	require.Len(r.t, index.Manifests, 1)
	return index.Manifests[0].Digest
}

// newImage writes an OCI layout (image specification 1.0) with an image for two
// platforms, and returns the digest of its index.
func newImage(t *testing.T, layout, word string) string {
	t.Helper()
	type object = map[string]any
	const prefix = "application/vnd.oci.image."
	blob := func(mediaType string, content []byte) object {
		sum := sha256.Sum256(content)
		put(t, content, layout, "blobs/sha256", hex.EncodeToString(sum[:]))
		return object{"mediaType": mediaType, "digest": "sha256:" + hex.EncodeToString(sum[:]), "size": len(content)}
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return b
	}
	var manifests []object
	for i, architecture := range []string{"amd64", "arm64"} {
		var plain, packed bytes.Buffer
		w := tar.NewWriter(&plain)
		content := append([]byte(word), proxytest.Random(300_000, uint64(i)).Bytes()...)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "word", Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write(content)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		z := gzip.NewWriter(&packed)
		z.Write(plain.Bytes())
		require.NoError(t, z.Close())
		sum := sha256.Sum256(plain.Bytes())
		m := blob(prefix+"manifest.v1+json", text(object{
			"schemaVersion": 2, "mediaType": prefix + "manifest.v1+json",
			"config": blob(prefix+"config.v1+json", text(object{
				"architecture": architecture, "os": "linux",
				"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
			})),
			"layers": []object{blob(prefix+"layer.v1.tar+gzip", packed.Bytes())},
		}))
		m["platform"] = object{"architecture": architecture, "os": "linux"}
		manifests = append(manifests, m)
	}
	index := blob(prefix+"index.v1+json", text(object{"schemaVersion": 2, "mediaType": prefix + "index.v1+json", "manifests": manifests}))
	index["annotations"] = object{"org.opencontainers.image.ref.name": "latest"}
	put(t, text(object{"schemaVersion": 2, "manifests": []object{index}}), layout, "index.json")
	put(t, []byte(`{"imageLayoutVersion":"1.0.0"}`), layout, "oci-layout")
	return index["digest"].(string)
}
