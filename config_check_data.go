package cacheproxy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
)

// apart rejects what would lie in the data directory and is nobody's to read: a file
// there is what clients are answered with, whoever has put it there. The store's own
// folder in it is not served.
func (d *decoder) apart(c *Config) {
	dir := c.Storage.Local.Path
	key := func(at, name string) {
		if served(dir, name) {
			d.reject(at, "%s lies in storage.local.path, from where clients are answered: they could read it", name)
		}
	}
	key("tls.key", c.TLS.Key)
	if len(c.TLS.ACME.Hosts) > 0 {
		key("tls.acme.cache", c.TLS.ACME.Cache)
	}
	mirrors := func(at string, all []Upstream) {
		for i := range all {
			key(fmt.Sprintf("%s[%d].client-key", at, i), all[i].ClientKey)
		}
	}
	mirrors("upstream", c.Upstream)
	for i := range c.Hubs {
		mirrors(fmt.Sprintf("hubs[%d].upstream", i), c.Hubs[i].Upstream)
	}
	for i := range c.Filters {
		o, ok := c.Filters[i].Options.(filter.Private)
		if !ok {
			continue
		}
		o.Files(func(option, name string, secret bool) {
			if at := fmt.Sprintf("filters[%d].%s", i, option); secret {
				key(at, name)
			} else {
				d.told(dir, at, name)
			}
		})
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(c.secrets))) {
		key("storage.local.path", name)
	}
	d.told(dir, "log.file", c.Log.File)
	d.told(dir, "status-file.path", c.StatusFile.Path)
}

// told warns of a file in the data directory that tells of clients.
func (d *decoder) told(dir, at, name string) {
	if served(dir, name) {
		d.warn(at, "%s lies in storage.local.path, from where clients are answered: they can read it", name)
	}
}

// served reports whether clients may be answered with a file, or with one below a
// folder, by where it is in the data directory dir.
func served(dir, name string) bool {
	if name == "" || name == "-" || dir == "" {
		return false
	}
	rel, err := filepath.Rel(physical(dir), physical(name))
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	return first != ".meta"
}

// physical is an absolute name without symbolic links, as far as it is there.
func physical(name string) string {
	name, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	for at, rest := name, ""; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		if found, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(found, rest)
		}
		if at == filepath.Dir(at) {
			return name
		}
	}
}
