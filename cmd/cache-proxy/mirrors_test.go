package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/proxytest"
)

// league is a configuration whose server has run, and knows a path.
func league(t *testing.T) (config string, origins [2]*proxytest.Origin) {
	t.Helper()
	data := t.TempDir()
	text := "storage: {local: {path: '" + data + "'}}\nhubs:\n- name: tree\n  upstream:\n"
	for i := range origins {
		origins[i] = proxytest.NewOrigin(t)
		origins[i].Reply("GET", "/large", proxytest.Reply{Body: proxytest.Random(1<<20, 1)})
		text += "  - server: '" + origins[i].URL() + "'\n"
	}
	require.NoError(t, os.Mkdir(filepath.Join(data, ".meta"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(data, ".meta", "mirrors.json"), []byte(`[{"hub": "tree", "requests": 4, "stripes": 2,
		"samples": [{"path": "/large", "size": 1048576}],
		"mirrors": [{"mirror": "`+origins[0].URL()+`", "wins": 3, "weight": 1, "first": 20000000, "lag": {"behind": 7200000000000}},
		{"mirror": "`+origins[1].URL()+`", "wins": 1}]}]`), 0o600))
	return write(t, text), origins
}

func TestMirrors(t *testing.T) {
	config, origins := league(t)
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, run([]string{"mirrors", "-config", config}, &stdout, &stderr), stderr.String())
	lines := strings.Split(stdout.String(), "\n")
	require.GreaterOrEqual(t, len(lines), 4)
	assert.Contains(t, lines[0], "hub tree: 4 questions")
	assert.Contains(t, lines[0], "2 in parts")
	assert.Regexp(t, origins[0].URL()+` +75% .* 20ms .* 2h0m0s `, lines[2])
	assert.Regexp(t, origins[1].URL()+` +25% `, lines[3])

	var all []cacheproxy.Standing
	stdout.Reset()
	require.Equal(t, exitOK, run([]string{"mirrors", "-json", "-config", config}, &stdout, &stderr))
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &all))
	assert.EqualValues(t, 3, all[0].Mirrors[0].Wins)
}

func TestMirrorsBench(t *testing.T) {
	config, origins := league(t)
	bench := func(args ...string) (status int, stdout, stderr string) {
		var out, err bytes.Buffer
		status = run(append([]string{"mirrors", "bench", "-config", config}, args...), &out, &err)
		return status, out.String(), err.String()
	}
	status, stdout, stderr := bench("-size", "512KiB")
	require.Equal(t, exitOK, status, stderr)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 2)
	for i, o := range origins {
		assert.Regexp(t, `^tree `+o.URL()+` /large connect \S+ first byte \S+ \S+ \S+iB/s$`, lines[i])
		seen := o.Requests("/large")
		require.Len(t, seen, 1)
		assert.Equal(t, "bytes=0-524287", seen[0].Header.Get("Range"))
	}
	assert.Empty(t, stderr, "no bar where there is no terminal")

	status, stdout, _ = bench("-hub", "tree", "-json", "/large", "/absent")
	require.Equal(t, exitOK, status)
	var all []cacheproxy.Measured
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 4)
	assert.Equal(t, "tree", all[0].Hub)
	assert.Positive(t, all[0].Rate)
	assert.Equal(t, "status 404", all[1].Error)

	status, stdout, stderr = bench("-hub", "tree", "/absent")
	assert.Equal(t, exitFailed, status, "nothing could be measured")
	assert.Contains(t, stdout, "status 404")
	assert.Empty(t, stderr)

	status, _, stderr = bench("-hub", "nobody")
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, `no hub "nobody"`)
	status, _, stderr = bench("-size", "much")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, `"much" is no size`)

	config = write(t, "storage: {local: {path: '"+t.TempDir()+"'}}\nupstream: [{server: '"+origins[0].URL()+"'}]\n")
	status, _, stderr = bench()
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, "name a path")
	status, stdout, _ = bench("/large")
	assert.Equal(t, exitOK, status)
	assert.Contains(t, stdout, "default "+origins[0].URL()+" /large")
}
