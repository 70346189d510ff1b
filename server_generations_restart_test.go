package cacheproxy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGenerationsRestart: a client that has a root gets the members of it after a
// restart too, though another one was published before and no mirror has the
// old members any more; and the members in use hold a new root back as before.
func TestGenerationsRestart(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(map[bool]string{true: "stopped", false: "killed"}[clean], func(t *testing.T) {
			s, c, clock, mirrors := aptCase(t, "")
			require.NoError(t, c.begin(rand.New(rand.NewPCG(1, 1)))) // it has the root, and no member yet
			for _, m := range mirrors {
				release(m, 2)
			}
			other := &aptClient{s: s, addr: "192.0.2.2:1"}
			require.Equal(t, 2, eventually(t, other, clock, 2))

			data := s.revision().config.Storage.Local.Path
			if clean {
				require.NoError(t, s.Close())
			} else {
				was := data
				data = t.TempDir()
				out, err := exec.Command("cp", "-a", was+"/.", data).CombinedOutput() // attributes too
				require.NoError(t, err, "%s", out)
			}
			s = restarted(t, s, data, clock)
			c.s, other.s = s, s

			_, root := aptVersion(3, false)
			for _, m := range mirrors {
				m.publish(root)
			}
			for range 3 {
				clock.pass(stale)
				require.NoError(t, other.begin(rand.New(rand.NewPCG(1, 1))))
				assert.Equal(t, 2, other.date.Minute(), "the members in use are not there yet")
			}
			other.todo = nil
			require.NotEmpty(t, c.todo)
			for random := rand.New(rand.NewPCG(1, 1)); len(c.todo) > 0; {
				require.NoError(t, c.step(random))
			}
			assert.Zero(t, c.failed)
			assert.Equal(t, 1, c.date.Minute())
			assert.Equal(t, 2, aptUpdate(t, other))
		})
	}
}

// restarted is a server with the configuration of another, and data of its own.
func restarted(t *testing.T, old *Server, data string, clock *aClock) *Server {
	t.Helper()
	c := *old.revision().config
	c.Storage.Local.Path = data
	s, err := New(&c, Options{Log: old.log, Now: clock.Now})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// TestMemoryFile: a file that cannot be read costs what was in it, and no more.
func TestMemoryFile(t *testing.T) {
	s, c, clock, mirrors := aptCase(t, "")
	data := s.revision().config.Storage.Local.Path
	require.NoError(t, s.Close())
	file := filepath.Join(data, ".meta", "generations", "debian.json")
	require.FileExists(t, file)
	require.NoError(t, os.WriteFile(file, []byte(`{"sets": [{"root": 1`), 0o600))
	c.s = restarted(t, s, data, clock)
	release(mirrors[0], 2)
	release(mirrors[1], 2)
	assert.Equal(t, 2, eventually(t, c, clock, 2))
}

// TestDatedRestart: what is older than what was served does not come back after a
// restart, be it that it is what all mirrors have; what is newer does.
func TestDatedRestart(t *testing.T) {
	for _, c := range []struct {
		kind, path string
		content    func(day int) string
	}{
		{"maven", "/g/a/maven-metadata.xml", func(day int) string {
			return fmt.Sprintf("<metadata><versioning><lastUpdated>202601%02d000000</lastUpdated></versioning></metadata>", day)
		}},
		{"rubygems", "/versions", func(day int) string {
			return fmt.Sprintf("created_at: 2026-01-%02dT00:00:00Z\n---\na 1.%d 00000000000000000000000000000000\n", day, day)
		}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			m := newTreeMirror(t)
			m.tags = true // by its date what is older is "not modified"
			at := func(day int) {
				m.publish(tree{c.path: {[]byte(c.content(day)), time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)}})
			}
			s := generationsServer(t, clock, "name: h, type: "+c.kind, m)
			get := func() string {
				clock.pass(time.Hour)
				return ask(s, "GET", "/h"+c.path, "Host", "x").Body.String()
			}
			at(2)
			assert.Equal(t, c.content(2), get())
			require.NoError(t, s.Close())
			s = restarted(t, s, s.revision().config.Storage.Local.Path, clock)
			at(1)
			assert.Equal(t, c.content(2), get())
			at(3)
			assert.Eventually(t, func() bool { return get() == c.content(3) }, 5*time.Second, time.Millisecond)
		})
	}
}
