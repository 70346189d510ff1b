package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/yaml"
)

// A memo does something once for each key, for many goroutines. The zero value is
// ready.
type memo[T any] struct {
	mu  sync.Mutex
	all map[string]func() (T, error) // guarded by mu
}

// get is what do has returned when it was first called for key.
func (m *memo[T]) get(key string, do func() (T, error)) (T, error) {
	m.mu.Lock()
	once, ok := m.all[key]
	if !ok {
		if m.all == nil {
			m.all = map[string]func() (T, error){}
		}
		once = sync.OnceValues(do)
		m.all[key] = once
	}
	m.mu.Unlock()
	return once()
}

// page is a document that several packages need, read once.
func (f *fetcher) page(ctx context.Context, at, accept string) ([]byte, error) {
	return f.pages.get(at, func() ([]byte, error) {
		text, _, err := f.server.text(ctx, at, accept, maxPage)
		return text, err
	})
}

// document is page of JSON, into v.
func (f *fetcher) document(ctx context.Context, at, accept string, v any) error {
	text, err := f.page(ctx, at, accept)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// below is the path and query of a link in a document at a path of the server; an
// error if it leads elsewhere.
func (f *fetcher) below(at, link string) (string, error) {
	base, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(link)
	if err != nil {
		return "", err
	}
	if u.Host != "" && u.Host != f.server.base.Host {
		return "", fmt.Errorf("%s leads past the server, to %s", at, u.Host)
	}
	u.Fragment = ""
	return u.RequestURI(), nil
}

// composerReference is a reference as the URLs of mirrors have it: one that is no
// hexadecimal number is its MD5 there.
func composerReference(s string) string {
	if strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Sprintf("%x", md5.Sum([]byte(s)))
	}
	return s
}

// dist asks for a package's archive, by the version as the repository compares it.
func (f *fetcher) dist(ctx context.Context, mount string, w want) error {
	var root struct {
		Template string `json:"metadata-url"`
	}
	const at = "/packages.json"
	if err := f.document(ctx, mount+at, "application/json", &root); err != nil {
		return err
	}
	if root.Template == "" {
		return errSkipped{"its repository has no metadata-url"}
	}
	name := strings.ToLower(w.name)
	file := name
	if strings.HasPrefix(w.version, "dev-") || strings.HasSuffix(w.version, "-dev") {
		file += "~dev"
	}
	list, err := f.below(mount+at, strings.ReplaceAll(root.Template, "%package%", file))
	if err != nil {
		return err
	}
	var doc struct {
		Packages map[string][]struct {
			Version    string
			Normalized string `json:"version_normalized"`
			Dist       struct{ Type, Reference string }
		}
	}
	if err := f.document(ctx, list, "application/json", &doc); err != nil {
		return err
	}
	for _, v := range doc.Packages[name] {
		if v.Version != w.version || v.Normalized == "" {
			continue
		}
		if strings.Contains(v.Normalized, "/") {
			v.Normalized = fmt.Sprintf("%x", md5.Sum([]byte(v.Normalized)))
		}
		file := cmp.Or(w.url, composerReference(v.Dist.Reference)+"."+v.Dist.Type)
		return f.get(ctx, mount+"/_d/"+name+"/"+url.PathEscape(v.Normalized)+"/"+url.PathEscape(file), w.digest())
	}
	return errors.New("the repository does not list this version")
}

// nupkg asks for a package, and for the list of versions that clients read first.
func (f *fetcher) nupkg(ctx context.Context, mount string, w want) error {
	var service struct {
		Resources []struct {
			ID   string `json:"@id"`
			Type string `json:"@type"`
		}
	}
	at := mount + "/v3/index.json"
	err := f.document(ctx, at, "application/json", &service)
	if absent(err) {
		at = mount + "/index.json"
		err = f.document(ctx, at, "application/json", &service)
	}
	if err != nil {
		return err
	}
	for _, r := range service.Resources {
		if !strings.HasPrefix(r.Type, "PackageBaseAddress/") {
			continue
		}
		name, version := url.PathEscape(strings.ToLower(w.name)), url.PathEscape(strings.ToLower(w.version))
		base, err := f.below(at, strings.TrimSuffix(r.ID, "/")+"/"+name+"/")
		if err != nil {
			return err
		}
		if err := f.get(ctx, base+"index.json", ""); err != nil {
			return err
		}
		return f.get(ctx, base+version+"/"+name+"."+version+".nupkg", w.digest())
	}
	return errors.New("the feed says not where its packages are")
}

// archiveOfPub asks for an archive where the package's listing has it.
func (f *fetcher) archiveOfPub(ctx context.Context, mount string, w want) error {
	var listing struct {
		Versions []struct {
			Version string
			URL     string `json:"archive_url"`
		}
	}
	at := mount + "/api/packages/" + url.PathEscape(w.name)
	if err := f.document(ctx, at, "application/vnd.pub.v2+json", &listing); err != nil {
		return err
	}
	for _, v := range listing.Versions {
		if v.Version != w.version {
			continue
		}
		to, err := f.below(at, v.URL)
		if err != nil {
			return err
		}
		return f.get(ctx, to, w.digest())
	}
	return errors.New("the repository does not list this version")
}

// provider asks for the archives of a provider, those that --only lets through.
func (f *fetcher) provider(ctx context.Context, mount string, w want) error {
	dir := mount + "/" + w.name + "/"
	if err := f.get(ctx, dir+"index.json", ""); err != nil {
		return err
	}
	var doc struct {
		Archives map[string]struct {
			URL    string
			Hashes []string
		}
	}
	at := dir + url.PathEscape(w.version) + ".json"
	if err := f.document(ctx, at, "application/json", &doc); err != nil {
		return err
	}
	found := 0
	for platform, archive := range doc.Archives {
		to, err := f.below(at, archive.URL)
		if err != nil {
			return err
		}
		if name := path.Base(to); !f.only.MatchString(name) && !f.only.MatchString(platform) {
			continue
		}
		found++
		digest := cacheproxy.Digest("")
		for _, h := range archive.Hashes {
			if d, ok := hexDigest("sha256", strings.TrimPrefix(h, "zh:")); ok && strings.HasPrefix(h, "zh:") {
				digest = d
			}
		}
		if digest != "" && len(w.digests) > 0 && !slices.Contains(w.digests, digest) {
			return fmt.Errorf("%s: its archive for %s is %s, which the lock file does not have", at, platform, digest)
		}
		if err := f.get(ctx, to, digest); err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("no archive of it is one that is wanted")
	}
	return nil
}

// chart asks for a chart where the index of its repository has it: the repository
// of the lock file, if that is at this server, else the hub's own.
func (f *fetcher) chart(ctx context.Context, mount string, w want) error {
	repository, err := url.Parse(w.url)
	if named := strings.HasPrefix(w.url, "@") || strings.HasPrefix(w.url, "alias:"); err != nil || !named && repository.Scheme != "http" && repository.Scheme != "https" {
		return errSkipped{"its repository is none that is asked for by http"}
	}
	at := mount + "/index.yaml"
	if repository.Host == f.server.base.Host {
		at = strings.TrimSuffix(repository.EscapedPath(), "/") + "/index.yaml"
	}
	text, err := f.page(ctx, at, "*/*")
	if err != nil {
		return err
	}
	link, digest, err := chartIn(text, w.name, w.version)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	to, err := f.below(at, link)
	if err != nil {
		return err
	}
	return f.get(ctx, to, digest)
}

// chartIn is where an index.yaml has a version of a chart.
func chartIn(text []byte, name, version string) (link string, digest cacheproxy.Digest, err error) {
	var one struct{ link, version, digest string }
	found := false
	keep := func(to *string) func(string) string {
		return func(s string) string {
			*to = cmp.Or(*to, s) // the first of several links
			return s
		}
	}
	at := "entries/" + name + "/*/"
	err = yaml.Copy(io.Discard, bytes.NewReader(text), yaml.Rules{
		at + "urls/*": keep(&one.link), at + "version": keep(&one.version), at + "digest": keep(&one.digest),
		at: func(string) string {
			if one.version == version && one.link != "" && !found {
				found, link = true, one.link
				digest, _ = hexDigest("sha256", strings.TrimPrefix(one.digest, "sha256:"))
			}
			one.link, one.version, one.digest = "", "", ""
			return ""
		},
	})
	if err == nil && !found {
		err = errors.New("the index does not list this version, or is not as helm writes it")
	}
	return link, digest, err
}
