package main

import (
	"bytes"
	"context"
	"net/url"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
)

// This file has the kinds of packages whose files are found by name and version,
// prefetch_listed.go those of which an index says where they are.

// gem asks for a gem, and what Bundler reads to get to it.
func (f *fetcher) gem(ctx context.Context, mount string, w want) error {
	for _, at := range []string{"/versions", "/info/" + url.PathEscape(w.name)} {
		if err := f.get(ctx, mount+at, ""); err != nil {
			return err
		}
	}
	return f.get(ctx, mount+"/gems/"+url.PathEscape(w.name+"-"+w.version)+".gem", w.digest())
}

// tarballOfHex asks for a tarball, and for what the registry says of the package.
func (f *fetcher) tarballOfHex(ctx context.Context, mount string, w want) error {
	if err := f.get(ctx, mount+w.url+"/packages/"+url.PathEscape(w.name), ""); err != nil {
		return err
	}
	return f.get(ctx, mount+w.url+"/tarballs/"+url.PathEscape(w.name+"-"+w.version)+".tar", w.digest())
}

// sourceOfR asks for a source package, where R and renv look for it: among those of
// today, which an index lists, or in the archive.
func (f *fetcher) sourceOfR(ctx context.Context, mount string, w want) error {
	const dir = "/src/contrib/"
	today, err := f.tables.get(mount, func() (map[string]string, error) {
		// R itself asks for this one first. Not all have it.
		if err := f.get(ctx, mount+dir+"PACKAGES.rds", ""); err != nil && !absent(err) {
			return nil, err
		}
		text, _, err := f.server.text(ctx, mount+dir+"PACKAGES", "*/*", maxPage)
		if err != nil {
			return nil, err
		}
		return readPackages(text)
	})
	if err != nil {
		return err
	}
	file := url.PathEscape(w.name + "_" + w.version + ".tar.gz")
	if today[w.name] != w.version {
		file = "Archive/" + url.PathEscape(w.name) + "/" + file
	}
	return f.get(ctx, mount+dir+file, "")
}

// readPackages reads the versions of an index of R packages, by name.
func readPackages(text []byte) (map[string]string, error) {
	all := map[string]string{}
	err := deb822.Rows(bytes.NewReader(text), []string{"Package", "Version"}, func(row []string) { all[row[0]] = row[1] })
	return all, err
}

// condaPackage asks for a package where the lock file has it: at this server, below
// a mirror of the hub's, or at a server of channels whose paths the hub has too.
func (f *fetcher) condaPackage(ctx context.Context, mount string, w want) error {
	if w.url == "" {
		return errSkipped{"nobody can tell its channel"}
	}
	at, err := url.Parse(w.url)
	if err != nil {
		return err
	}
	path := at.EscapedPath()
	if at.Host == f.server.base.Host {
		return f.get(ctx, path, w.digest())
	}
	for _, mirror := range f.mirrors[w.kind] {
		if rest, ok := strings.CutPrefix(w.url, strings.TrimSuffix(mirror, "/")+"/"); ok {
			path = "/" + rest
		}
	}
	return f.get(ctx, mount+path, w.digest())
}

// mirrorsOf are the base URLs of the mirrors of the hubs that packages go to.
func mirrorsOf(c *cacheproxy.Config, hubs map[cacheproxy.HubType]string) map[cacheproxy.HubType][]string {
	all := map[cacheproxy.HubType][]string{}
	for _, h := range c.Served() {
		if hubs[h.Module()] != h.Path {
			continue
		}
		for _, u := range h.Upstream {
			all[h.Module()] = append(all[h.Module()], u.Server.String())
		}
	}
	return all
}
