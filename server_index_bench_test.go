package cacheproxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// BenchmarkFirstClient is what an index of 40 MB costs the first client that
// asks for it, over one whole server on loopback: once through a hub of type
// files, which changes nothing, and once through one that rewrites it and learns
// from it. Each round is of another project, so nothing of it is known. The
// metrics are medians in ms: files-ms and hub-ms to the last byte, added-ms
// their difference, first-ms the hub's first byte, artifact-ms what the last
// file of the index takes right after it.
func BenchmarkFirstClient(b *testing.B) {
	for _, ix := range []struct{ name, path, file, text string }{
		{"npm", "/npm/demo%06d", "/npm/demo%06[1]d/-/demo%06[1]d-last.tgz", bigPackument()},
		{"pypi-html", "/html/simple/demo%06d/", "/html/packages/demo%06d/demo-last.whl", bigPage()},
		{"pypi-json", "/json/simple/demo%06d/", "/json/packages/demo%06d/demo-last.whl", bigJSONPage()},
	} {
		b.Run(ix.name, func(b *testing.B) { benchFirstClient(b, ix.path, ix.file, ix.text) })
	}
}

const (
	indexSize = 40 << 20
	project   = "demo999999" // in an index, stands for the project of the round
)

func benchFirstClient(b *testing.B, path, file, text string) {
	var current []byte
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "-last.") {
			io.WriteString(w, "x")
			return
		}
		w.Header().Set("Content-Type", contentType(path))
		w.Header().Set("Content-Length", fmt.Sprint(len(current)))
		w.Write(current)
	}))
	defer origin.Close()
	dir := b.TempDir()
	url := serveBench(b, dir, strings.ReplaceAll(`
log: {level: error}
hubs:
- {name: files, type: files, upstream: [{server: ORIGIN}]}
- {name: npm, type: npm, upstream: [{server: ORIGIN}]}
- {name: html, type: pypi, upstream: [{server: ORIGIN}]}
- {name: json, type: pypi, upstream: [{server: ORIGIN}]}
`, "ORIGIN", origin.URL))
	var files, hub, first, artifact []float64
	for round := 0; b.Loop(); round++ {
		name := fmt.Sprintf("demo%06d", round)
		current = bytes.ReplaceAll([]byte(strings.ReplaceAll(text, "https://registry.example.org", origin.URL)), []byte(project), []byte(name))
		_, all, n := timedGet(b, url+"/files/"+name)
		require.Equal(b, len(current), n)
		files = append(files, all)
		head, all, _ := timedGet(b, url+fmt.Sprintf(path, round))
		hub, first = append(hub, all), append(first, head)
		_, all, n = timedGet(b, url+fmt.Sprintf(file, round))
		require.Equal(b, 1, n)
		artifact = append(artifact, all)
		for _, mount := range [...]string{"files", "npm", "html", "json"} { // 80 MB a round
			os.RemoveAll(filepath.Join(dir, mount)) // what is just being stored may stay
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(files), "files-ms")
	b.ReportMetric(median(hub), "hub-ms")
	b.ReportMetric(median(hub)-median(files), "added-ms")
	b.ReportMetric(median(first), "first-ms")
	b.ReportMetric(median(artifact), "artifact-ms")
}

func contentType(path string) string {
	switch {
	case strings.HasPrefix(path, "/html"):
		return "text/html"
	case strings.HasPrefix(path, "/json"):
		return "application/vnd.pypi.simple.v1+json"
	}
	return "application/json"
}

// serveBench runs a whole server until the benchmark ends.
func serveBench(b *testing.B, dir, text string) (url string) {
	file := filepath.Join(b.TempDir(), "config.yaml")
	text += "storage: {local: {path: " + dir + "}}\nlimits: {drain: 1s}\n"
	require.NoError(b, os.WriteFile(file, []byte(text), 0o600))
	cfg, _, err := cacheproxy.Load(file)
	require.NoError(b, err)
	s, err := cacheproxy.New(cfg, cacheproxy.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	b.Cleanup(func() { cancel(); require.NoError(b, <-done) })
	return "http://" + l.Addr().String()
}

// timedGet is how long the first and the last byte of a 200 took, in ms, and its length.
func timedGet(b *testing.B, url string) (first, all float64, n int) {
	began := time.Now()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(b, err)
	req.Header.Set("Accept", "application/vnd.pypi.simple.v1+json, text/html; q=0.1, application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer resp.Body.Close()
	require.Equal(b, http.StatusOK, resp.StatusCode, url)
	for buf := make([]byte, 256<<10); ; {
		m, err := resp.Body.Read(buf)
		if n == 0 {
			first = float64(time.Since(began).Microseconds()) / 1000
		}
		n += m
		if err == io.EOF {
			return first, float64(time.Since(began).Microseconds()) / 1000, n
		}
		require.NoError(b, err)
	}
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// sumX is the SHA-256 of each last file.
var sumX = sha256.Sum256([]byte("x"))

// bigPackument is a full one, as registries send it.
func bigPackument() string {
	var t strings.Builder
	t.WriteString(`{"_id":"` + project + `","_rev":"1-abc","name":"` + project + `","dist-tags":{"latest":"1.0.0"},"versions":{`)
	version := func(version, integrity string) {
		fmt.Fprintf(&t, `%[1]q:{"name":"`+project+`","version":%[1]q,"description":"what it is for","main":"index.js","scripts":{"test":"node --test"},`+
			`"repository":{"type":"git","url":"git+https://example.org/demo/demo.git"},"keywords":["a","b","c"],"author":{"name":"A. Uthor"},"license":"MIT",`+
			`"dependencies":{"left":"^1.0.0","right":"^2.3.4","up":"~0.1.2"},"devDependencies":{"x":"1","y":"2","z":"3"},"gitHead":"%040x","_id":"`+project+`@%[1]s",`+
			`"_nodeVersion":"20.1.0","_npmVersion":"10.2.0","dist":{"integrity":%[3]q,"shasum":"%040[2]x","tarball":"https://registry.example.org/`+project+`/-/`+project+`-%[1]s.tgz",`+
			`"fileCount":12,"unpackedSize":12345,"signatures":[{"keyid":"SHA256:%043[2]d","sig":"%096[2]d"}]},"_npmUser":{"name":"a","email":"a@example.org"},`+
			`"maintainers":[{"name":"a","email":"a@example.org"},{"name":"b","email":"b@example.org"}],"_hasShrinkwrap":false}`, version, t.Len(), integrity)
	}
	for n := 0; t.Len() < indexSize; n++ {
		version(fmt.Sprint("1.0.", n), fmt.Sprintf("sha512-%086d==", n))
		t.WriteByte(',')
	}
	version("last", "sha256-"+base64.StdEncoding.EncodeToString(sumX[:]))
	t.WriteString(`},"time":{"modified":"2024-01-01T00:00:00.000Z"}}`)
	return t.String()
}

// bigPage is one in HTML with all attributes of PEP 503 and 714.
func bigPage() string {
	var t strings.Builder
	t.WriteString("<!DOCTYPE html>\n<html><body>\n")
	file := func(name string, sum []byte) {
		fmt.Fprintf(&t, `    <a href="../../packages/`+project+`/%[1]s#sha256=%[2]x" data-requires-python="&gt;=3.7" `+
			`data-dist-info-metadata="sha256=%[2]x" data-core-metadata="sha256=%[2]x">%[1]s</a><br />`+"\n", name, sum)
	}
	for n := 0; t.Len() < indexSize; n++ {
		file(fmt.Sprintf("demo-1.0.%d-cp311-cp311-manylinux_2_17_x86_64.whl", n), fmt.Appendf(nil, "%032d", n))
	}
	file("demo-last.whl", sumX[:])
	t.WriteString("</body></html>\n")
	return t.String()
}

// bigJSONPage is one of PEP 691.
func bigJSONPage() string {
	var t strings.Builder
	t.WriteString(`{"meta":{"api-version":"1.1"},"name":"demo","files":[`)
	file := func(name string, size int, sum []byte) {
		fmt.Fprintf(&t, `{"core-metadata":{"sha256":"%[2]x"},"data-dist-info-metadata":{"sha256":"%[2]x"},"filename":%[1]q,"hashes":{"sha256":"%[2]x"},`+
			`"provenance":null,"requires-python":">=3.7","size":%[3]d,"upload-time":"2024-01-01T00:00:00.000000Z","url":"https://registry.example.org/packages/`+project+`/%[1]s","yanked":false}`,
			name, sum, size)
	}
	for n := 0; t.Len() < indexSize; n++ {
		file(fmt.Sprintf("demo-1.0.%d-cp311-cp311-manylinux_2_17_x86_64.whl", n), n+1, fmt.Appendf(nil, "%032d", n))
		t.WriteByte(',')
	}
	file("demo-last.whl", 1, sumX[:])
	t.WriteString(`]}`)
	return t.String()
}
