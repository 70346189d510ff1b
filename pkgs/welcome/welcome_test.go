package welcome_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/welcome"
)

func TestPage(t *testing.T) {
	html, err := site().Page("https://cache.example.org:8443/base")
	require.NoError(t, err)
	page := string(html)
	for _, want := range []string{
		"curl -fsS https://cache.example.org:8443/base/-/setup.sh | sh</pre>",
		"URIs: https://cache.example.org:8443/base/debian-security",
		"baseurl=https://cache.example.org:8443/base/fedora/releases/$releasever/Everything/$basearch/os/",
		"Server = https://cache.example.org:8443/base/archlinux/$repo/os/$arch",
		"pip config set global.index-url https://cache.example.org:8443/base/pypi/simple/</pre>",
		"go env -w &#39;GOPROXY=https://cache.example.org:8443/base/go|direct&#39;",
		"sparse&#43;https://cache.example.org:8443/base/cargo/",
		"docker pull cache.example.org:8443/base/hub/IMAGE",
	} {
		assert.Contains(t, page, want)
	}
	assert.NotContains(t, page, "trusted-host", "over https")
	assert.NotContains(t, page, "daemon.json", "docker's mirrors have no path")
	assert.NotContains(t, page, "<script")
	assert.NotContains(t, page, "src=")
	for _, link := range strings.Split(page, "href=\"")[1:] {
		assert.True(t, strings.HasPrefix(link, "#") || strings.HasPrefix(link, "setup.sh\""), link)
	}

	html, err = site().Page("http://cache.lan:8881")
	require.NoError(t, err)
	assert.Contains(t, string(html), "pip config set global.trusted-host cache.lan:8881")
	assert.Contains(t, string(html), "insecure-registries&#34;: [&#34;cache.lan:8881&#34;]")
}

// every has a hub of each type that there is a client for.
func every() *welcome.Site {
	all := []welcome.Hub{
		{Name: "registry", Type: "terraform", Path: "/registry", Providers: []string{"registry.example.org", "other.example.org"}},
	}
	for _, kind := range strings.Fields("apt rpm apk pacman flatpak pypi npm go cargo maven composer rubygems nuget conda cran hex pub rustup oci helm terraform files http") {
		all = append(all, welcome.Hub{Name: kind, Type: kind, Path: "/" + kind, Default: kind == "oci"})
	}
	return welcome.New(all)
}

// TestByHand: what there is to paste for every type, as the page has it.
func TestByHand(t *testing.T) {
	for _, c := range []struct{ name, base string }{
		{"page-http", "http://cache.lan:8881"},
		{"page-https", "https://cache.example.org/all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page, err := every().Page(c.base)
			require.NoError(t, err)
			_, hand, ok := strings.Cut(string(page), "<h2 id=\"hand\">")
			require.True(t, ok)
			golden := filepath.Join("testdata", c.name+".html")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(hand), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), hand)
		})
	}
}

// TestSetupKnows: the page offers the script for the clients that it sets up.
func TestSetupKnows(t *testing.T) {
	page := func(kinds ...string) string {
		var hubs []welcome.Hub
		for _, kind := range kinds {
			hubs = append(hubs, welcome.Hub{Name: kind, Type: kind, Path: "/" + kind})
		}
		html, err := welcome.New(hubs).Page("http://cache.lan:8881")
		require.NoError(t, err)
		return string(html)
	}
	assert.Contains(t, page("rpm", "helm", "pypi"), "for what is there of dnf, pip;")
	alone := page("helm")
	assert.Contains(t, alone, "no script for the clients of these")
	assert.NotContains(t, alone, "setup.sh")
	assert.Contains(t, alone, "helm repo add")
}

// TestBounded: each hub has its few lines, whatever the others are.
func TestBounded(t *testing.T) {
	size := func(hubs int) int {
		all := make([]welcome.Hub, hubs)
		for i := range all {
			all[i] = welcome.Hub{Name: "flathub", Type: "flatpak", Path: "/flathub"}
		}
		page, err := welcome.New(all).Page("http://cache.lan:8881")
		require.NoError(t, err)
		return len(page)
	}
	assert.Less(t, size(1), 8<<10)
	assert.Equal(t, 999*(size(2)-size(1)), size(1000)-size(1))
	assert.Less(t, size(2)-size(1), 1<<10)
}

// TestPastedLiterally: characters that mean something to what reads the lines are
// text in them: a public-url and a mount may have them.
func TestPastedLiterally(t *testing.T) {
	hubs := []welcome.Hub{}
	for _, kind := range strings.Fields("pypi npm go composer rubygems flatpak hex pub rustup oci helm files nuget maven") {
		hubs = append(hubs, welcome.Hub{Name: kind, Type: kind, Path: "/a'$(id)&b"})
	}
	page, err := welcome.New(hubs).Page("https://cache.example.org/x;id")
	require.NoError(t, err)
	for _, part := range strings.Split(string(page), "<pre tabindex=\"0\">")[1:] {
		part, _, _ = strings.Cut(part, "</pre>")
		text := html.UnescapeString(part)
		for line := range strings.SplitSeq(text, "\n") {
			switch {
			case strings.Contains(line, "<url>"), strings.Contains(line, "<add"):
				assert.Contains(t, line, "/x;id/a&#39;$(id)&amp;b")
			case strings.Contains(line, "example.org"):
				echoed, err := exec.Command("sh", "-c", "printf '<%s>' "+line).Output()
				require.NoError(t, err, line)
				assert.Contains(t, string(echoed), "cache.example.org/x;id/a'$(id)&b", line)
			}
		}
	}
}

// TestHostile: whatever a base or a path is, it is text.
func TestHostile(t *testing.T) {
	s := welcome.New([]welcome.Hub{
		{Name: "npm", Type: "npm", Path: "/n';id;'"},
		{Name: "go", Type: "go", Path: "/go", Names: []string{"$(id)", "a b", "fine"}},
	})
	for _, base := range []string{"http://a';id;'", "http://$(id)", "http://a\nb", "http://a\\b", "http://a&b", "", "http://a`id`", "http://a|b", `http://a"b`, "http://a<script>"} {
		_, err := s.Script(base)
		assert.Error(t, err, base)
		html, err := s.Page(base)
		require.NoError(t, err)
		assert.NotContains(t, string(html), "<script>")
		assert.NotContains(t, string(html), "| sh")
	}
	script, err := s.Script("http://cache.lan:8881")
	require.NoError(t, err)
	assert.NotContains(t, string(script), ";id;")
	assert.NotContains(t, string(script), "$(id)")
	assert.Contains(t, string(script), "HUBS='go /go go,fine'\n")
	assert.NotContains(t, string(script), "@BASE@")
}

// TestDetect: apt's script names the proxy for hosts that it knows, while it answers.
func TestDetect(t *testing.T) {
	cache := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/healthz" {
			http.NotFound(w, r)
		}
	}))
	defer cache.Close()
	script, err := site().Detect(cache.URL, []string{"deb.example.org", "other.example.org:8080", "bad'host"})
	require.NoError(t, err)
	assert.NotContains(t, string(script), "bad'host")
	name := filepath.Join(t.TempDir(), "detect")
	require.NoError(t, os.WriteFile(name, script, 0o755))
	ask := func(url string) string {
		t.Helper()
		out, err := exec.Command("sh", name, url).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	assert.Equal(t, cache.URL+"\n", ask("http://deb.example.org"))
	assert.Equal(t, cache.URL+"\n", ask("http://deb.example.org:80/debian"))
	assert.Equal(t, cache.URL+"\n", ask("http://other.example.org:8080"))
	assert.Equal(t, "DIRECT\n", ask("http://other.example.org"))
	assert.Equal(t, "DIRECT\n", ask("http://example.org"))
	cache.Close()
	assert.Equal(t, "DIRECT\n", ask("http://deb.example.org"), "it is gone")

	for _, base := range []string{"https://cache.lan", "http://cache.lan/path", "http://a'b"} {
		_, err := site().Detect(base, nil)
		assert.Error(t, err, base)
	}
}

func TestTrees(t *testing.T) {
	for _, c := range []struct {
		name, expr string
		want       []string
	}{
		{"one", "^/debian/(.*)", []string{"debian"}},
		{"several", "^/(debian|debian-security|ubuntu)/(.*)", []string{"debian", "debian-security", "ubuntu"}},
		{"deeper", "^/pypi/((?:simple|packages)/.*)", []string{"pypi"}},
		{"not anchored", "/(debian|ubuntu)/(.*)", []string{"debian", "ubuntu"}},
		{"optional", "^/ubuntu(-ports)?/", []string{"ubuntu-ports", "ubuntu"}},
		{"a class", "^/el[89]/", []string{"el8", "el9"}},
		{"any", "^/(.*)", nil},
		{"any of a form", "^/[^/]+/x", nil},
		{"a prefix only", "^/debian", nil},
		{"any case", "(?i)^/debian/", nil},
		{"one part open", "^/(debian|.*)/", nil},
		{"an extension", `\.deb$`, nil},
		{"empty", "", nil},
		{"none", "(", nil},
		{"too many", "^/[a-z][a-z][a-z]/", nil},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, welcome.Trees(c.expr)) })
	}
}

func FuzzTrees(f *testing.F) {
	f.Add("^/(debian|ubuntu)/(.*)")
	f.Add("^/[a-z]{1,50}/((a|b){20})")
	f.Fuzz(func(t *testing.T, expr string) {
		assert.LessOrEqual(t, len(welcome.Trees(expr)), 200)
	})
}
