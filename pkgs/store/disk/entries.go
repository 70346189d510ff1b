package disk

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Entries implements [store.Store]. Content in doubt after an unclean stop is
// listed without being proved. A file without metadata belongs to the hub asked
// for, or to the default one.
func (s *Store) Entries(ctx context.Context, hub, prefix string) iter.Seq2[*exchange.Entry, error] {
	return func(yield func(*exchange.Entry, error) bool) {
		err := s.walk(s.top(hub, prefix), func(at string, _ stat) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			e := s.entryAt(hub, at)
			if e == nil || hub != "" && e.Key.Hub != hub || !strings.HasPrefix(e.Key.Path, prefix) {
				return nil
			}
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

var errStop = errors.New("stop")

// top is the deepest directory that holds all entries of a hub under prefix.
func (s *Store) top(hub, prefix string) string {
	if hub == "" {
		return "."
	}
	// Paths too long for the file system lie at the top of their hub, so a
	// prefix must not lead below where one of them may begin.
	dir := path.Dir(place(exchange.Key{Hub: hub, Path: "/"}))
	if i := strings.LastIndexByte(prefix, '/'); i > 0 && !strings.Contains(prefix, "?") {
		if !s.hasLong(dir) {
			dir = path.Dir(place(exchange.Key{Hub: hub, Path: prefix[:i+1]}))
		}
	}
	return dir
}

// hasLong reports whether dir holds paths that were too long for their place.
func (s *Store) hasLong(dir string) bool {
	found, err := fs.Glob(s.root.FS(), dir+"/"+hashMark+"-*")
	return err != nil || len(found) > 0
}

// entryAt is the entry of the file at a path; nil if it is none.
func (s *Store) entryAt(hub, at string) *exchange.Entry {
	file, err := s.openFile(at)
	if err != nil {
		return nil
	}
	defer file.Close()
	st, err := statFile(file)
	if err != nil || !st.regular {
		return nil
	}
	e, err := s.readMeta(file, st)
	switch {
	case err == nil && place(e.Key) == placeOf(at):
		return e
	case errors.Is(err, errNoMeta):
		if hub == "" {
			hub = defaultHub
		}
		key, ok := placeKey(hub, at)
		if !ok {
			return nil
		}
		e, err := s.judgeBare(key, st, at, s.suspect(st.ctime))
		if err != nil {
			return nil
		}
		return e
	}
	return nil
}
