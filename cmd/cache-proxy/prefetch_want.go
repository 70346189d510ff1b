package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// fetch asks for all files of a want.
func (f *fetcher) fetch(ctx context.Context, w want) error {
	if w.kind == "" {
		return f.get(ctx, w.url, "")
	}
	mount, ok := f.hubs[w.kind]
	way := f.way(w.kind)
	switch {
	case way == nil:
		return errSkipped{"nobody can tell the path of packages of this kind"}
	case w.version == "" && w.kind != "conda":
		return errSkipped{"it has no version"}
	case !ok:
		return fmt.Errorf("no hub of type %s in the configuration", w.kind)
	}
	return way(ctx, strings.TrimSuffix(mount, "/"), w)
}

// way asks for a package of a kind; nil: there is none.
func (f *fetcher) way(kind cacheproxy.HubType) func(ctx context.Context, mount string, w want) error {
	switch kind {
	case "npm":
		return f.tarball
	case "go":
		return f.goModule
	case "cargo":
		return f.crate
	case "maven":
		return f.artifact
	case "pypi":
		return f.project
	case "composer":
		return f.dist
	case "rubygems":
		return f.gem
	case "helm":
		return f.chart
	case "conda":
		return f.condaPackage
	case "nuget":
		return f.nupkg
	case "cran":
		return f.sourceOfR
	case "terraform":
		return f.provider
	case "hex":
		return f.tarballOfHex
	case "pub":
		return f.archiveOfPub
	}
	return nil
}

func (w want) digest() cacheproxy.Digest {
	if len(w.digests) == 0 {
		return ""
	}
	return w.digests[0]
}

// tarball asks for the tarball of an npm package: where registries have it, or where
// the lock file says that this server has it, or where its packument says so.
func (f *fetcher) tarball(ctx context.Context, mount string, w want) error {
	if w.url == "" || strings.HasPrefix(w.url, "/") {
		return f.get(ctx, mount+cmp.Or(w.url, npmPath(w.name, w.version)), w.digest())
	}
	at, err := url.Parse(w.url)
	if err == nil && at.Host == f.server.base.Host {
		return f.get(ctx, at.RequestURI(), w.digest())
	}
	text, _, err := f.server.text(ctx, mount+"/"+strings.Replace(w.name, "/", "%2f", 1), "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", maxPage)
	if err != nil {
		return err
	}
	var packument struct {
		Versions map[string]struct{ Dist struct{ Tarball string } }
	}
	if err := json.Unmarshal(text, &packument); err != nil {
		return err
	}
	if at, err = url.Parse(packument.Versions[w.version].Dist.Tarball); err != nil || !strings.HasPrefix(at.Path, mount+"/") {
		return errors.New("its packument has no tarball of this version below the hub")
	}
	return f.get(ctx, at.RequestURI(), w.digest())
}

// npmPath is where registries have a tarball that they do not name otherwise.
func npmPath(name, version string) string {
	return "/" + name + "/-/" + path.Base(name) + "-" + version + ".tgz"
}

// goModule asks for what go downloads of a module (https://go.dev/ref/mod#goproxy-protocol).
func (f *fetcher) goModule(ctx context.Context, mount string, w want) error {
	base := mount + "/" + (&url.URL{Path: goEscaped(w.name) + "/@v/" + goEscaped(w.version)}).EscapedPath()
	endings := []string{".info", ".mod", ".zip"}
	if w.mod {
		endings = []string{".mod"}
	}
	for _, ending := range endings {
		if err := f.get(ctx, base+ending, ""); err != nil {
			return err
		}
	}
	return nil
}

// goEscaped has an exclamation mark and the small letter for each capital one.
func goEscaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// crate asks for a crate, and what cargo reads of the index to get to it.
func (f *fetcher) crate(ctx context.Context, mount string, w want) error {
	if w.digest() == "" {
		return errSkipped{"there is no checksum, by which crates are asked for"}
	}
	for _, at := range []string{"/config.json", cratePath(w.name)} {
		if err := f.get(ctx, mount+at, ""); err != nil {
			return err
		}
	}
	return f.get(ctx, mount+"/_dl/"+url.PathEscape(w.name)+"/"+url.PathEscape(w.version)+"/"+w.digest().Hex(), w.digest())
}

// cratePath is where an index has a crate
// (https://doc.rust-lang.org/cargo/reference/registry-index.html#index-files).
func cratePath(name string) string {
	name = strings.ToLower(name)
	switch len(name) {
	case 0, 1, 2:
		return fmt.Sprintf("/%d/%s", len(name), url.PathEscape(name))
	case 3:
		return "/3/" + url.PathEscape(name[:1]) + "/" + url.PathEscape(name)
	}
	return "/" + url.PathEscape(name[:2]) + "/" + url.PathEscape(name[2:4]) + "/" + url.PathEscape(name)
}

// artifact asks for the POM and the jar; name is GROUP:ARTIFACT. One without a jar
// is a POM.
func (f *fetcher) artifact(ctx context.Context, mount string, w want) error {
	group, name, _ := strings.Cut(w.name, ":")
	base := mount + (&url.URL{Path: "/" + strings.ReplaceAll(group, ".", "/") + "/" + name + "/" + w.version + "/" + name + "-" + w.version}).EscapedPath()
	if err := f.get(ctx, base+".pom", ""); err != nil {
		return err
	}
	if w.url == "pom" {
		return nil
	}
	return f.get(ctx, base+"."+cmp.Or(w.url, "jar"), "")
}

// pipAccept is what pip asks with, so that its pages and ours are the same.
const pipAccept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"

const maxPage = 64 << 20

// project asks for a project's page, and for the files on it that the lock file has
// by digest, or by version where it has none.
func (f *fetcher) project(ctx context.Context, mount string, w want) error {
	page := mount + "/simple/" + normalised(w.name) + "/"
	text, contentType, err := f.server.text(ctx, page, pipAccept, maxPage)
	if err != nil {
		return err
	}
	files, err := readPage(text, contentType)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	base, err := url.Parse(page)
	if err != nil {
		return err
	}
	found := 0
	for _, file := range files {
		if !file.of(w) || !f.only.MatchString(file.name) {
			continue
		}
		found++
		link, err := base.Parse(file.link)
		if err != nil {
			return err
		}
		if link.Host != "" && link.Host != f.server.base.Host {
			return fmt.Errorf("%s: the page leads past the server, to %s", file.name, link.Host)
		}
		link.Fragment = ""
		at := link.RequestURI()
		if err := f.get(ctx, at, file.digest); err != nil {
			return err
		}
		if file.metadata {
			if err := f.get(ctx, at+".metadata", ""); err != nil {
				return err
			}
		}
	}
	if found == 0 {
		return errors.New("no file of its page is the one that is wanted")
	}
	return nil
}

// A pageFile is one on a page.
type pageFile struct {
	name, link string
	digest     cacheproxy.Digest
	metadata   bool
}

// of says whether it is what w wants.
func (p pageFile) of(w want) bool {
	if len(w.digests) > 0 {
		return slices.Contains(w.digests, p.digest)
	}
	name, rest, _ := strings.Cut(p.name, "-")
	version, _, wheel := strings.Cut(rest, "-")
	if !wheel {
		for _, ending := range []string{".tar.gz", ".zip", ".tar.bz2"} {
			stem, ok := strings.CutSuffix(p.name, ending)
			if i := strings.LastIndexByte(stem, '-'); ok && i > 0 {
				name, version = stem[:i], stem[i+1:]
			}
		}
	}
	return normalised(name) == normalised(w.name) && strings.EqualFold(version, w.version)
}

var runs = regexp.MustCompile(`[-_.]+`)

// normalised is a project's name as PEP 503 has it.
func normalised(name string) string { return strings.ToLower(runs.ReplaceAllString(name, "-")) }

// readPage reads the files of a page, in JSON (PEP 691) or HTML (PEP 503).
func readPage(text []byte, contentType string) ([]pageFile, error) {
	if strings.HasPrefix(contentType, "application/vnd.pypi.simple.v1+json") {
		return readJSONPage(text)
	}
	return readHTMLPage(string(text)), nil
}

func readJSONPage(text []byte) (files []pageFile, err error) {
	var page struct {
		Files []struct {
			Filename string            `json:"filename"`
			URL      string            `json:"url"`
			Hashes   map[string]string `json:"hashes"`
			Core     any               `json:"core-metadata"`
			Info     any               `json:"dist-info-metadata"`
		} `json:"files"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, err
	}
	for _, f := range page.Files {
		file := pageFile{name: f.Filename, link: f.URL, metadata: is(f.Core) || is(f.Info)}
		if sum := f.Hashes["sha256"]; sum != "" {
			file.digest = cacheproxy.Digest("sha256:" + strings.ToLower(sum))
		}
		files = append(files, file)
	}
	return files, nil
}

// is says whether JSON is true, or an object of hashes.
func is(v any) bool { return v != nil && v != false }

var (
	anchor    = regexp.MustCompile(`(?is)<a\s([^>]*)>`)
	attribute = regexp.MustCompile(`(?s)([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')`)
)

func readHTMLPage(text string) (files []pageFile) {
	for _, a := range anchor.FindAllStringSubmatch(text, -1) {
		var file pageFile
		for _, m := range attribute.FindAllStringSubmatch(a[1], -1) {
			value := html.UnescapeString(m[2] + m[3])
			switch strings.ToLower(m[1]) {
			case "href":
				link, fragment, _ := strings.Cut(value, "#")
				file.link = link
				if sum, ok := strings.CutPrefix(fragment, "sha256="); ok {
					file.digest = cacheproxy.Digest("sha256:" + strings.ToLower(sum))
				}
			case "data-core-metadata", "data-dist-info-metadata":
				file.metadata = file.metadata || value != "false"
			}
		}
		if u, err := url.Parse(file.link); err == nil && file.link != "" {
			file.name = path.Base(u.Path)
			files = append(files, file)
		}
	}
	return files
}
