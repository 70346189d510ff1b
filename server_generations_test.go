package cacheproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A tree is what a mirror has, and since when.
type tree map[string]treeFile

type treeFile struct {
	content  []byte
	modified time.Time
}

// A treeMirror serves a tree, which may be replaced at any moment.
type treeMirror struct {
	*httptest.Server

	tags bool // answers have an ETag

	mu   sync.Mutex
	tree tree
}

func newTreeMirror(t *testing.T) *treeMirror {
	m := &treeMirror{tree: tree{}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		f, ok := m.tree[r.URL.Path]
		m.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		if m.tags {
			w.Header().Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(f.content)))
		}
		http.ServeContent(w, r, "x.bin", f.modified, bytes.NewReader(f.content))
	}))
	t.Cleanup(m.Close)
	return m
}

// publish adds files to the tree; what is not among them stays.
func (m *treeMirror) publish(files tree) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range files {
		m.tree[name] = f
	}
}

// drop takes files away.
func (m *treeMirror) drop(suffix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.tree {
		if strings.HasSuffix(name, suffix) {
			delete(m.tree, name)
		}
	}
}

const suite = "/dists/stable/" // below the mirrors and the hub

var aptMembers = []string{"main/binary-amd64/Packages", "main/binary-amd64/Packages.gz", "main/i18n/Translation-en", "main/source/Sources"}

// aptVersion is a release as an archive publishes it: members first, as mirrors
// take them, then the root. Every second member changes only now and then, and
// all versions of one are of the same size.
func aptVersion(n int, byHash bool) (members, root tree) {
	modified := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
	members, root = tree{}, tree{}
	var list strings.Builder
	for i, name := range aptMembers {
		version := n
		if i%2 == 1 {
			version = n / 3
		}
		content := fmt.Appendf(nil, "Package: p%d\nVersion: %08d\n", i, version)
		sum := sha256.Sum256(content)
		f := treeFile{content, modified}
		members[suite+name] = f
		if byHash {
			dir := name[:strings.LastIndexByte(name, '/')]
			members[suite+dir+"/by-hash/SHA256/"+hex.EncodeToString(sum[:])] = f
		}
		fmt.Fprintf(&list, " %x %d %s\n", sum, len(content), name)
	}
	answer := map[bool]string{true: "yes", false: "no"}[byHash]
	text := fmt.Sprintf("Suite: stable\nDate: %s\nAcquire-By-Hash: %s\nSHA256:\n%s", modified.Format(time.RFC1123), answer, list.String())
	root[suite+"InRelease"] = treeFile{[]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text +
		"-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"), modified}
	root[suite+"Release"] = treeFile{[]byte(text), modified}
	root[suite+"Release.gpg"] = treeFile{[]byte("signature of " + text), modified}
	return members, root
}

// An aptClient asks for a release, then for its members one by one.
type aptClient struct {
	s       *Server
	addr    string
	old     bool // it asks for Release and Release.gpg
	byHash  bool
	release string
	date    time.Time
	todo    []string
	failed  int
}

func (c *aptClient) get(path string) (*httptest.ResponseRecorder, string) {
	r, w := httptest.NewRequest("GET", "/debian"+path, nil), httptest.NewRecorder()
	r.RemoteAddr = c.addr
	c.s.ServeHTTP(w, r)
	return w, w.Body.String()
}

// step asks for the next file, and returns an error if that is not the one that
// the release it was given lists.
func (c *aptClient) step(random *rand.Rand) error {
	if len(c.todo) == 0 {
		return c.begin(random)
	}
	name := c.todo[0]
	c.todo = c.todo[1:]
	if name == "Release.gpg" {
		w, body := c.get(suite + name)
		if w.Code != 200 {
			c.failed++
			c.todo = nil
		} else if body != "signature of "+c.release {
			return fmt.Errorf("BADSIG: %q is no signature of %q", body, c.release)
		}
		return nil
	}
	want := ""
	for line := range strings.Lines(c.release) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == name {
			want = f[0]
		}
	}
	path := suite + name
	if c.byHash {
		path = path[:strings.LastIndexByte(path, '/')] + "/by-hash/SHA256/" + want
	}
	w, body := c.get(path)
	if w.Code != 200 {
		c.failed++
		return nil
	}
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(body))); got != want {
		return fmt.Errorf("Hash Sum mismatch: %s of the release of %v is %s, not %s:\n%s", path, c.date, got, want, body)
	}
	return nil
}

func (c *aptClient) begin(random *rand.Rand) error {
	root := "InRelease"
	if c.old {
		root = "Release"
		c.todo = append(c.todo, "Release.gpg")
	}
	w, body := c.get(suite + root)
	if w.Code != 200 {
		c.failed++
		c.todo = nil
		return nil
	}
	c.release = body
	_, rest, _ := strings.Cut(body, "Date: ")
	text, _, _ := strings.Cut(rest, "\n")
	date, err := time.Parse(time.RFC1123, text)
	if err != nil {
		return err
	}
	c.date = date
	for _, i := range random.Perm(len(aptMembers)) {
		c.todo = append(c.todo, aptMembers[i])
	}
	return nil
}

// aClock is a clock that tests move.
type aClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *aClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *aClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func generationsServer(t *testing.T, clock *aClock, hub string, mirrors ...*treeMirror) *Server {
	t.Helper()
	var list strings.Builder
	for _, m := range mirrors {
		fmt.Fprintf(&list, "{server: '%s'}, ", m.URL)
	}
	c, _ := must(t, fmt.Sprintf("cache: {policies: [{match: 'Release(\\.gpg)?$', refresh-after: 20s}]}\nhubs:\n- {%s, upstream: [%s]}\n", hub, list.String()))
	c.Storage.Local.Path = t.TempDir()
	s, err := New(c, Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: clock.Now})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// TestGenerations: two mirrors publish one after the other, each in two steps,
// while clients are between a root and its members. No member is ever another
// than the client's root lists, no signature is of another release, and roots
// never go back (B42).
func TestGenerations(t *testing.T) {
	for _, byHash := range []bool{true, false} {
		t.Run(fmt.Sprintf("by-hash %v", byHash), func(t *testing.T) {
			t.Parallel()
			const rounds = 1000
			random := rand.New(rand.NewPCG(1, 2))
			clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
			mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
			versions := []int{1, 1}
			half := []bool{false, false} // the mirror has the members of its next version
			for _, m := range mirrors {
				members, root := aptVersion(1, byHash)
				m.publish(members)
				m.publish(root)
			}
			s := generationsServer(t, clock, "name: debian, type: apt", mirrors...)
			var clients []*aptClient
			for i := range 6 {
				clients = append(clients, &aptClient{s: s, addr: fmt.Sprintf("192.0.2.%d:1", i+1), old: i == 5, byHash: i%3 == 1})
			}
			newest, steps, moves := time.Time{}, 0, 0
			for range rounds {
				switch n := random.IntN(20); {
				case n < 2: // a mirror goes on by a step, never by more than two releases before the other
					i := random.IntN(2)
					if versions[i]-versions[1-i] >= 2 {
						break
					}
					members, root := aptVersion(versions[i]+1, byHash)
					if !half[i] {
						mirrors[i].publish(members)
					} else {
						mirrors[i].publish(root)
						versions[i]++
					}
					half[i] = !half[i]
				case n < 5:
					clock.pass(time.Duration(random.IntN(60)) * time.Second)
				default:
					c := clients[random.IntN(len(clients))]
					asksRoot := len(c.todo) == 0
					require.NoError(t, c.step(random))
					steps++
					if asksRoot && len(c.todo) > 0 {
						if c.date.Before(newest) {
							t.Fatalf("a root of %v follows one of %v", c.date, newest)
						}
						if c.date.After(newest) {
							moves++
						}
						newest = c.date
					}
				}
			}
			failed := 0
			for _, c := range clients {
				failed += c.failed
			}
			t.Logf("%d steps, %d failed, %d generations of %d", steps, failed, moves, max(versions[0], versions[1]))
			assert.Greater(t, moves, 5, "generations must be published for this to mean anything")
			assert.Less(t, failed, steps/10, "most files must be had")
		})
	}
}

// TestGenerationsAtOnce is TestGenerations with everything at once.
func TestGenerationsAtOnce(t *testing.T) {
	clock := &aClock{now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	mirrors := []*treeMirror{newTreeMirror(t), newTreeMirror(t)}
	publish := func(m *treeMirror, n int) {
		members, root := aptVersion(n, true)
		m.publish(members)
		m.publish(root)
	}
	publish(mirrors[0], 1)
	publish(mirrors[1], 1)
	s := generationsServer(t, clock, "name: debian, type: apt", mirrors...)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			c := &aptClient{s: s, addr: fmt.Sprintf("192.0.2.%d:1", i+1), old: i == 7, byHash: i%2 == 0}
			last := time.Time{}
			for n := 0; ; n++ {
				select {
				case <-done:
					assert.Less(t, c.failed, n/5+5)
					assert.NotZero(t, last.Minute()/10, "generations must be published for this to mean anything")
					return
				default:
				}
				if !assert.NoError(t, c.step(random)) {
					return
				}
				if c.date.Before(last) {
					t.Errorf("a root of %v follows one of %v", c.date, last)
					return
				}
				last = c.date
			}
		})
	}
	random := rand.New(rand.NewPCG(5, 6))
	for n := 2; n < 60; n++ {
		publish(mirrors[n%2], n)
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond) // of load between publications
		clock.pass(25 * time.Second)
	}
	close(done)
	wg.Wait()
}
