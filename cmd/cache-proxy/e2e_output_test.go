//go:build e2e

package main

import (
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// output is what a process writes.
type output struct {
	mu    sync.Mutex
	text  []byte        // guarded by mu
	ended bool          // guarded by mu
	grown chan struct{} // guarded by mu; closed and replaced when one of both changes
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.change(func() { o.text = append(o.text, p...) })
	return len(p), nil
}

func (o *output) end() { o.change(func() { o.ended = true }) }

func (o *output) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	close(o.grown)
	o.grown = make(chan struct{})
}

// await waits for a line that matches, and returns what its groups hold.
func (o *output) await(t *testing.T, pattern string) []string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^.*` + pattern + `.*$`)
	late := time.After(30 * time.Second)
	for {
		o.mu.Lock()
		found, ended, grown := line.FindStringSubmatch(string(o.text)), o.ended, o.grown
		o.mu.Unlock()
		if found != nil {
			return found
		}
		if ended {
			t.Fatalf("the log ended without %q:\n%s", pattern, o.tail())
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("the log has no %q:\n%s", pattern, o.tail())
		}
	}
}

// forget lets nothing that was written so far be found.
func (o *output) forget() { o.change(func() { o.text = nil }) }

// awaitEnd waits until nothing more will be written.
func (o *output) awaitEnd(t *testing.T) {
	t.Helper()
	late := time.After(45 * time.Second)
	for {
		o.mu.Lock()
		ended, grown := o.ended, o.grown
		o.mu.Unlock()
		if ended {
			return
		}
		select {
		case <-grown:
		case <-late:
			t.Error("the log does not end")
			return
		}
	}
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text[max(0, len(o.text)-16<<10):])
}

// logged waits until the daemon's log matches: it is written a moment behind.
func (d *daemon) logged(pattern, why string) {
	d.t.Helper()
	assert.EventuallyWithT(d.t, func(c *assert.CollectT) { assert.Regexp(c, pattern, d.log.tail(), why) }, 10*time.Second, 20*time.Millisecond)
}
