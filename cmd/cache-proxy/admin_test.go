package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// open serves a shop's store, to clients and operators.
func (s *shop) open() (base, admin string) {
	s.t.Helper()
	c, _, err := cacheproxy.Load(s.config)
	require.NoError(s.t, err)
	c.Admin.Token = cacheproxy.NewSecret("hunter2")
	server, err := cacheproxy.New(c, cacheproxy.Options{Log: slog.New(slog.DiscardHandler), Version: "v9"})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { server.Close() })
	front, back := httptest.NewServer(server), httptest.NewServer(server.Admin())
	s.t.Cleanup(front.Close)
	s.t.Cleanup(back.Close)
	s.config = write(s.t, "storage: {local: {path: '"+s.data+"', max-size: 0, min-free: 0}}\nadmin: {listen: '"+back.Listener.Addr().String()+"', token: hunter2}\n"+
		"upstream: [{server: 'http://127.0.0.1:1'}]\ncache: {policies: [{match: 'deb$', refresh-after: never}]}\nhubs: [{name: tools, upstream: [{server: 'http://127.0.0.1:1'}]}]\n")
	return front.URL, back.URL
}

func TestPurge(t *testing.T) {
	for _, c := range []struct {
		name string
		open bool
	}{{"by the server", true}, {"without one", false}} {
		t.Run(c.name, func(t *testing.T) {
			s := filled(t)
			if c.open {
				s.open()
			}
			status, out, stderr := s.run("purge", "/tools/go/go1.tgz")
			require.Equal(t, exitOK, status, stderr)
			assert.Equal(t, "1 object, 4 B\n", out)
			status, out, stderr = s.run("purge", "--json", "--prefix", "default:/debian/d")
			require.Equal(t, exitOK, status, stderr)
			assert.JSONEq(t, `{"objects": 1, "bytes": 7}`, out)
			status, _, stderr = s.run("purge", "--pattern", `^/x`, "tools")
			require.Equal(t, exitOK, status, stderr)
			assert.Equal(t, []string{"default:/debian/pool/a.deb", "tools:/bare"}, s.keys())
			status, out, _ = s.run("purge", "tools:/nothing")
			assert.Equal(t, exitOK, status)
			assert.Equal(t, "0 objects, 0 B\n", out)
			for _, wrong := range [][]string{{"tools"}, {""}, {":/bare"}, {"--prefix", ":/"}, {"--pattern", ".", ""}, {"--pattern", "(", "tools"}, {"--pattern", "x", "tools:/x"}, {"--admin", "nobody", "tools:/x"}} {
				status, _, stderr = s.run(append([]string{"purge"}, wrong...)...)
				assert.Equal(t, exitUsage, status, "%v: %s", wrong, stderr)
			}
			assert.Len(t, s.keys(), 2)
		})
	}
	s := filled(t)
	s.held() // and no admin listener
	status, _, stderr := s.run("purge", "tools:/bare")
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, "in use by another cache-proxy")
}

func TestWhy(t *testing.T) {
	s := filled(t)
	base, _ := s.open()
	status, out, stderr := s.run("why", "--server", base, "/debian/pool/a.deb")
	require.Equal(t, exitOK, status, stderr)
	for _, want := range []string{
		`key        default:/debian/pool/a.deb \(hub of type files at /`,
		`asked      upstream 0, http://127.0.0.1:1, with priority 0`,
		`class      policy 0, deb\$: fresh for never`,
		`answer     200 after .*: `,
		`stored     default:/debian/pool/a.deb: status 200, 2.93 KiB, from nobody`,
		`verified   content was sha256:[0-9a-f]{64} as it came`,
		`eviction   the store has .* of any size`,
	} {
		assert.Regexp(t, want, out)
	}
	assert.NotContains(t, out, "hunter2")
	status, out, stderr = s.run("why", "--json", "--server", "http://127.0.0.1:1", "tools:/none")
	require.Equal(t, exitOK, status, stderr)
	var found []reason
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	assert.Contains(t, found, reason{"stored", "nothing"})
	assert.Contains(t, found, reason{"class", "no policy has it: fresh for cache.timeout, 1h"})
	status, _, _ = s.run("why", "nobody:/x")
	assert.Equal(t, exitUsage, status)
}

// TestWhyReads: what clients ask for is read as the hub reads it.
func TestWhyReads(t *testing.T) {
	s := filled(t)
	s.config = write(t, "storage: {local: {path: '"+s.data+"', max-size: 0, min-free: 0}}\nadmin: {listen: 127.0.0.1:1}\n"+`hubs:
- {name: pypi, type: pypi, upstream: [{server: 'http://127.0.0.1:1'}]}
- {name: docker, type: oci, options: {library: true, default: true}, upstream: [{server: 'http://127.0.0.1:1'}]}
`)
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct {
		name, arg string
		want      []reason
	}{
		{"a project", "http://cache.lan:8881/pypi/simple/My.Name/", []reason{{"key", "pypi:/simple/my-name/ (hub of type pypi at /pypi, race.mode adaptive)"}, {"package", "my-name"}}},
		{"an image", "/v2/alpine/manifests/3", []reason{{"key", "docker:/v2/library/alpine/manifests/3 (hub of type oci at /docker, race.mode adaptive)"}, {"package", "library/alpine 3"}}},
		{"a blob", "/v2/docker/a/b/blobs/" + digest, []reason{{"digest", digest + ", by the URL itself"}}},
		{"what the protocol has not", "/pypi/none/x", []reason{{"key", "pypi:/none/x (hub of type pypi at /pypi, race.mode adaptive)"}}},
		{"a key", "pypi:/simple/my-name/", []reason{{"key", "pypi:/simple/my-name/ (hub of type pypi at /pypi, race.mode adaptive)"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, out, stderr := s.run("why", "--json", "--server", "http://127.0.0.1:1", c.arg)
			require.Equal(t, exitOK, status, stderr)
			var found []reason
			require.NoError(t, json.Unmarshal([]byte(out), &found))
			assert.Subset(t, found, c.want)
		})
	}
	status, out, _ := s.run("why", "--server", "http://127.0.0.1:1", "/pypi/none/x")
	assert.Equal(t, exitOK, status)
	assert.Regexp(t, `(?m)^key +none: hub pypi: /none/x: `, out)
	status, _, stderr := s.run("why", "/nobody/x")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "no hub serves /nobody/x")

	status, out, stderr = s.run("purge", "/pypi/simple/My.Name/")
	assert.Equal(t, exitOK, status, stderr)
	assert.Equal(t, "0 objects, 0 B\n", out)
}

func TestOutcome(t *testing.T) {
	assert.Equal(t, "it was here; fresh for 5 s more; a 404 was remembered (cache-proxy; hit; ttl=5; detail=negative)", outcome("cache-proxy; hit; ttl=5; detail=negative"))
}

func TestTop(t *testing.T) {
	s := filled(t)
	s.open()
	status, out, stderr := s.run("top")
	require.Equal(t, exitOK, status, stderr)
	assert.Regexp(t, `cache-proxy v9, up .*, configuration 1, 0 transfers under way`, out)
	assert.Regexp(t, `(?m)^tools +0 +- +- +0 B`, out)
	assert.NotContains(t, out, "\x1b", "no terminal")
	status, out, _ = s.run("top", "--json")
	require.Equal(t, exitOK, status)
	var g glance
	require.NoError(t, json.Unmarshal([]byte(out), &g))
	assert.Equal(t, "v9", g.Status.Version)

	status, _, _ = s.run("top", "--every", "1ms")
	assert.Equal(t, exitUsage, status)
	status, _, stderr = s.run("top", "--admin", "http://127.0.0.1:1")
	assert.Equal(t, exitFailed, status)
	assert.Contains(t, stderr, "no server answers")
}

// TestGlance: rates are what came since the glance before, and the screen is not
// longer than the terminal.
func TestGlance(t *testing.T) {
	status := func(answers, sent int64) cacheproxy.Status {
		st := cacheproxy.Status{Version: "v9", Hubs: []cacheproxy.HubStatus{{Name: "npm"}}}
		st.Hubs[0].Requests = map[string]int64{"hit": answers / 2, "miss": answers - answers/2}
		st.Hubs[0].Sent = map[string]int64{"store": sent}
		return st
	}
	before := &glance{At: newYear, Status: status(10, 1024)}
	now := &glance{At: newYear.Add(2 * time.Second), Status: status(30, 5120)}
	for i := range 100 {
		now.Flights = append(now.Flights, cacheproxy.Flight{Hub: "npm", Path: "/p", Bytes: 1 << 20, Total: -1, Rate: int64(i) << 20, Clients: 3})
	}
	var b strings.Builder
	require.NoError(t, now.print(&b, before, 24))
	assert.Regexp(t, `npm +30 +10 +50% +5 KiB +2 KiB +0 B`, b.String())
	assert.Regexp(t, `1 MiB +\? +99 MiB +3 +- +npm:/p`, b.String())
	assert.LessOrEqual(t, strings.Count(b.String(), "\n"), 24)
	require.NoError(t, now.print(&strings.Builder{}, nil, 5))
}
