package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// headSuffix is of the files that apt-cacher-ng keeps response heads in.
const headSuffix = ".head"

// A spot is where files go: a hub, and a path below its mount that ends in a slash.
type spot struct{ hub, path string }

// treeTypes are hubs whose paths are those of files.
var treeTypes = []cacheproxy.HubType{cacheproxy.HubFiles, "apt", "rpm", "apk", "pacman", "maven"}

// importTree takes over the files of a folder.
func (p *invocation) importTree(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf, root, below string, to []string) (tally, error) {
	t := &treeImport{ctx: ctx, config: c, shelf: s, root: root, skipped: map[string]int{}}
	if t.acng = isCacher(root); t.acng {
		if below != "" {
			return t.done, misused(errors.New("of an apt-cacher-ng cache, --to says where folders go"))
		}
		if err := t.mapFolders(to); err != nil {
			return t.done, err
		}
	} else {
		if below == "" || len(to) > 0 {
			return t.done, misused(errors.New("say below which HUB:/PATH the tree goes, and nothing else"))
		}
		at, err := spotOf(c, below)
		if err != nil {
			return t.done, err
		}
		t.whole = &at
	}
	t.bar = p.newBar(-1, "importing", true)
	defer t.bar.finish()
	err := filepath.WalkDir(root, t.file)
	for _, name := range slices.Sorted(maps.Keys(t.skipped)) {
		fmt.Fprintf(p.stderr, "%s: %d files left out\n", name, t.skipped[name])
	}
	return t.done, err
}

type treeImport struct {
	ctx     context.Context
	config  *cacheproxy.Config
	shelf   *cacheproxy.Shelf
	root    string
	acng    bool
	whole   *spot           // where all goes; nil: folders says
	folders map[string]spot // of a cache, by the name of a folder at its top
	skipped map[string]int  // reasons
	bar     bar
	done    tally
}

// isCacher says whether a folder is a cache of apt-cacher-ng.
func isCacher(root string) bool {
	found := false
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(name, headSuffix) {
			if _, err := os.Stat(strings.TrimSuffix(name, headSuffix)); err == nil {
				found = true
			}
		}
		if found {
			return filepath.SkipAll
		}
		return nil
	})
	return found
}

// spotOf is where an argument says that files go.
func spotOf(c *cacheproxy.Config, arg string) (spot, error) {
	name, below, err := selected(c, arg)
	if err != nil {
		return spot{}, err
	}
	all := c.Served()
	i := slices.IndexFunc(all, func(h cacheproxy.Hub) bool { return h.Name == name })
	if i < 0 {
		return spot{}, misused(fmt.Errorf("no hub %q in the configuration", name))
	}
	if !slices.Contains(treeTypes, all[i].Module()) {
		return spot{}, misused(fmt.Errorf("hub %s is of type %s, whose paths are not those of files: use prefetch", name, all[i].Type))
	}
	return spot{name, strings.TrimSuffix(below, "/") + "/"}, nil
}

// mapFolders finds where the folders of a cache go.
func (t *treeImport) mapFolders(to []string) error {
	t.folders = map[string]spot{}
	for folder, at := range map[string]string{"debrep": "/debian", "uburep": "/ubuntu"} {
		if found, err := spotOf(t.config, at); err == nil {
			t.folders[folder] = found
		}
	}
	for _, s := range to {
		folder, at, ok := strings.Cut(s, "=")
		if !ok {
			return misused(fmt.Errorf("--to %q has no =", s))
		}
		found, err := spotOf(t.config, at)
		if err != nil {
			return err
		}
		t.folders[folder] = found
	}
	return nil
}

// file takes over one file.
func (t *treeImport) file(name string, d fs.DirEntry, err error) error {
	if err == nil {
		err = t.ctx.Err()
	}
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(t.root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	if d.IsDir() {
		if t.acng && strings.HasPrefix(rel, "_") { // its own
			return filepath.SkipDir
		}
		return nil
	}
	if !d.Type().IsRegular() || t.acng && strings.HasSuffix(rel, headSuffix) {
		return nil
	}
	key, ok := t.key(rel)
	if !ok {
		folder, _, _ := strings.Cut(rel, "/")
		t.skipped[folder+": no hub has it"]++
		return nil
	}
	return t.put(name, key)
}

// key is where the file at a path below the root goes.
func (t *treeImport) key(rel string) (key cacheproxy.Key, ok bool) {
	if t.whole != nil {
		below, ok := cacheproxy.KeyPath("/" + rel)
		return cacheproxy.Key{Hub: t.whole.hub, Path: t.whole.path + strings.TrimPrefix(below, "/")}, ok
	}
	folder, rest, ok := strings.Cut(rel, "/")
	if !ok {
		return key, false
	}
	decoded, err := url.PathUnescape(rest) // as clients have spelled it
	if err != nil {
		return key, false
	}
	below, ok := cacheproxy.KeyPath("/" + decoded)
	if !ok {
		return key, false
	}
	if at, known := t.folders[folder]; known {
		return cacheproxy.Key{Hub: at.hub, Path: at.path + strings.TrimPrefix(below, "/")}, true
	}
	return t.upstreamKey(folder, below)
}

// upstreamKey is the key of what an upstream of a hub has, asked by its host for a path.
func (t *treeImport) upstreamKey(host, below string) (key cacheproxy.Key, ok bool) {
	for _, h := range t.config.Served() {
		if !slices.Contains(treeTypes, h.Module()) {
			continue
		}
		for _, u := range h.Upstream {
			if u.Server.URL.Host != host {
				continue
			}
			base := strings.TrimSuffix(u.Server.URL.Path, "/")
			rest, within := strings.CutPrefix(below, base+"/")
			switch {
			case !within:
			case !u.Path.Match.IsSet() || u.Path.Replace == "":
				return cacheproxy.Key{Hub: h.Name, Path: "/" + rest}, true
			default: // the mapping is not undone, but it may change nothing
				m := u.Path.Match.FindStringSubmatchIndex("/" + rest)
				if m != nil && string(u.Path.Match.ExpandString(nil, u.Path.Replace, "/"+rest, m)) == "/"+rest {
					return cacheproxy.Key{Hub: h.Name, Path: "/" + rest}, true
				}
			}
		}
	}
	return key, false
}

// put stores a file, unless the store has what is as new.
func (t *treeImport) put(name string, key cacheproxy.Key) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e := &cacheproxy.Entry{Key: key, Status: http.StatusOK, Size: info.Size(), Received: info.ModTime().UTC(), Stored: time.Now().UTC(), Header: http.Header{
		"Last-Modified": {info.ModTime().UTC().Format(http.TimeFormat)},
	}}
	if kind := mime.TypeByExtension(path.Ext(key.Path)); kind != "" {
		e.Header.Set("Content-Type", kind)
	}
	if t.acng && !t.head(name, e) {
		t.skipped["not whole, or no file"]++
		return nil
	}
	if have, open, err := t.shelf.Open(t.ctx, key); err == nil {
		open.Close()
		if !have.Received.Before(e.Received) {
			t.done.Skipped++
			return nil
		}
	}
	if err := t.shelf.Put(t.ctx, e, f); err != nil {
		return err
	}
	t.bar.add(e.Size)
	t.done.Entries++
	t.done.Bytes += e.Size
	return nil
}

// head lays what apt-cacher-ng was told of a file over e; false if the file is not
// all of a 200.
func (t *treeImport) head(name string, e *cacheproxy.Entry) bool {
	f, err := os.Open(name + headSuffix)
	if err != nil {
		return false
	}
	defer f.Close()
	status, header, err := readHead(f)
	if err != nil || status != http.StatusOK {
		return false
	}
	if n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err != nil || n != e.Size {
		return false
	}
	for _, field := range []string{"Content-Type", "Last-Modified", "Etag"} {
		if v := header.Get(field); v != "" {
			e.Header.Set(field, v)
		}
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil && date.Before(time.Now()) {
		e.Received = date.UTC()
	}
	return true
}

// readHead reads the head of a response, 64 KiB at most.
func readHead(from io.Reader) (status int, header http.Header, err error) {
	r := textproto.NewReader(bufio.NewReader(io.LimitReader(from, 64<<10)))
	line, err := r.ReadLine()
	if err != nil {
		return 0, nil, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	if status, err = strconv.Atoi(code); err != nil || !strings.HasPrefix(version, "HTTP/1.") {
		return 0, nil, fmt.Errorf("%q is no status line", line)
	}
	fields, err := r.ReadMIMEHeader()
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) { // the empty line may be missing
		return 0, nil, err
	}
	return status, http.Header(fields), nil
}
