package cacheproxy

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/welcome"
)

// An excerpt is text between ```yaml and ``` of a manual.
type excerpt struct {
	file string
	line int // of its first line
	text string
}

// excerpts are those of a manual, without the indentation of the list that they are in.
func excerpts(t *testing.T, file string) (all []excerpt) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	fence := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")
	for _, at := range fence.FindAllStringSubmatchIndex(string(text), -1) {
		indent := string(text[at[2]:at[3]])
		lines := strings.Split(string(text[at[4]:at[5]]), "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], indent)
		}
		all = append(all, excerpt{file, 1 + strings.Count(string(text[:at[4]]), "\n"), strings.Join(lines, "\n")})
	}
	return all
}

// TestManuals: every configuration in the manuals loads as it stands, but for files
// that are on nobody's machine. YAML that is not for the proxy is known by its first key.
func TestManuals(t *testing.T) {
	others := map[string]int{
		"channel_alias:":  1, // conda's
		"scrape_configs:": 1, // Prometheus's
	}
	t.Setenv("PACKAGES_TOKEN", "secret")
	files, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	tried := 0
	for _, file := range append(files, "README.md", "README.zh.md") {
		for _, b := range excerpts(t, file) {
			first, _, _ := strings.Cut(b.text, " ")
			first, _, _ = strings.Cut(first, "\n")
			if others[first] > 0 {
				others[first]--
				continue
			}
			tried++
			_, warnings, err := parse(b.file, []byte(b.text))
			for _, w := range warnings {
				if w.Path != "upstream" { // that there is none: it is an excerpt
					assert.Fail(t, "loads with a warning", "%s:%d: %v", b.file, b.line+max(w.Line, 1)-1, w)
				}
			}
			var problems Problems
			if !errors.As(err, &problems) {
				assert.NoError(t, err, "%s:%d", b.file, b.line)
			}
			for _, p := range problems {
				if !strings.HasSuffix(p.Reason, "no such file or directory") {
					assert.Fail(t, "does not load", "%s:%d: %s: %s", b.file, b.line+max(p.Line, 1)-1, p.Path, p.Reason)
				}
			}
		}
	}
	assert.Greater(t, tried, 50)
	for key, left := range others {
		assert.Zero(t, left, "no manual has %s", key)
	}
}

// TestManualsOfTypes: the manuals, and the page for those who only use the proxy, have
// every type of hub.
func TestManualsOfTypes(t *testing.T) {
	text := map[string]string{}
	for _, file := range []string{"README.md", "README.zh.md", "docs/clients.md"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		text[file] = string(b)
	}
	for kind := range hubs {
		assert.Contains(t, text["README.md"], "\n| "+string(kind)+" | ", "its line of the table")
		assert.Contains(t, text["README.zh.md"], "`"+string(kind)+"`")
		if kind == HubHTTP { // which is used by no kind of client
			continue
		}
		if kind != HubFiles {
			assert.Contains(t, text["docs/clients.md"], "\n  type: "+string(kind)+"\n")
		}
		page, err := welcome.New([]welcome.Hub{{Name: "x", Type: string(kind), Path: "/x"}}).Page("https://cache.example.org")
		require.NoError(t, err)
		_, hand, _ := strings.Cut(string(page), "<h2 id=\"hand\">")
		assert.Contains(t, hand, "cache.example.org/x", "lines to paste for %s", kind)
	}
}
