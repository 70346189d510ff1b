package cacheproxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settleTime = 200 * time.Millisecond // after a change, for the next ones that belong to it
	pollTime   = 10 * time.Second       // where changes are not told, as on network file systems
)

// watch reads the configuration again when its file, or one that it names, has
// changed, until ctx is done. It looks at the content that is found under the
// names, so that it does not matter how they came to have another: written,
// renamed, or by a link to a directory that is another now.
func (s *Server) watch(ctx context.Context) {
	events := make(chan fsnotify.Event)
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.Info("changes of files are only noticed now and then", "err", err)
	} else {
		defer w.Close()
		go func() {
			for range w.Errors {
			}
		}()
		events = w.Events
	}
	files := s.watched()
	seen := fingerprint(files)
	follow(w, files)
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	settle := time.NewTimer(0)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settle.Reset(settleTime)
			continue
		case <-settle.C:
		case <-poll.C:
		}
		now := fingerprint(files)
		if maps.Equal(now, seen) {
			follow(w, files)
			continue
		}
		s.Refresh("a file has changed")
		files = s.watched()
		seen = fingerprint(files)
		maps.Copy(seen, now) // what has changed again since is new
		maps.DeleteFunc(seen, func(name string, _ [sha256.Size]byte) bool { return !slices.Contains(files, name) })
		follow(w, files)
	}
}

// watched are the files that the configuration is made of.
func (s *Server) watched() []string {
	if s.options.File == "" {
		return nil
	}
	return append(s.revision().config.files(), s.options.File)
}

// files are those that the configuration names, beside that it is in.
func (c *Config) files() []string {
	all := append([]string{c.TLS.Cert, c.TLS.Key}, c.secrets...)
	of := func(upstreams []Upstream) {
		for _, u := range upstreams {
			all = append(all, u.CA, u.ClientCert, u.ClientKey)
		}
	}
	of(c.Upstream)
	for i := range c.Hubs {
		of(c.Hubs[i].Upstream)
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// fingerprint is what there is under some names; of names without a file, nothing.
func fingerprint(files []string) map[string][sha256.Size]byte {
	all := make(map[string][sha256.Size]byte, len(files))
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold up the end
		if err != nil {
			continue
		}
		h := sha256.New()
		_, err = io.Copy(h, io.LimitReader(f, maxConfig+1))
		f.Close()
		if err == nil {
			all[name] = [sha256.Size]byte(h.Sum(nil))
		}
	}
	return all
}

// follow watches the directories in which a change of the files may show: theirs,
// and those of all links on the way. Those that are watched already stay so.
func follow(w *fsnotify.Watcher, files []string) {
	if w == nil {
		return
	}
	wanted := map[string]bool{}
	for _, name := range files {
		for range 20 { // links to links
			wanted[filepath.Dir(name)] = true
			// A directory on the way may be the link: ..data in Kubernetes' volumes.
			if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
				wanted[dir] = true
			}
			to, err := os.Readlink(name)
			if err != nil {
				break
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(name), to)
			}
			name = to
		}
	}
	for _, dir := range w.WatchList() {
		if !wanted[dir] {
			_ = w.Remove(dir)
		}
	}
	for dir := range wanted {
		if !slices.Contains(w.WatchList(), dir) {
			_ = w.Add(dir) // what cannot be watched is polled
		}
	}
}

// Refresh is Reread for those that wait for no answer: what comes of it is logged.
func (s *Server) Refresh(why string) {
	s.log.Info("reading the configuration again", "cause", why)
	s.notifier.reloading()
	err := s.Reread()
	if !s.draining.Load() {
		s.notifier.ready()
	}
	var problems Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			s.log.Warn("the configuration stays as it was", "err", p.Error())
		}
	case err != nil:
		s.log.Warn("the configuration stays as it was", "err", err)
	}
}
