package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// readComposerLock reads a composer.lock
// (https://getcomposer.org/doc/01-basic-usage.md#commit-your-composer-lock-file-to-version-control).
// The url of a want is how the file is called in a mirror's URL: REFERENCE.TYPE. What
// has no archive is of another kind.
func readComposerLock(text []byte) (all []want, err error) {
	type locked struct {
		Name, Version string
		Dist          *struct{ Type, URL, Reference, Shasum string }
	}
	var lock struct {
		Packages []locked `json:"packages"`
		Dev      []locked `json:"packages-dev"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, err
	}
	for _, p := range append(lock.Packages, lock.Dev...) {
		w := want{kind: "composer source", name: p.Name, version: p.Version}
		if d := p.Dist; d != nil && d.Type != "path" {
			w.kind, w.url = "composer", composerReference(d.Reference)+"."+d.Type
			if sum, ok := hexDigest("sha1", d.Shasum); ok {
				w.digests = []cacheproxy.Digest{sum}
			}
		}
		all = append(all, w)
	}
	return all, nil
}

// readNuGetLock reads a packages.lock.json
// (https://learn.microsoft.com/nuget/consume-packages/package-references-in-project-files#locking-dependencies).
// Its contentHash is not of the file: what is signed counts as if it were not.
func readNuGetLock(text []byte) (all []want, err error) {
	var lock struct {
		Frameworks map[string]map[string]struct{ Type, Resolved string } `json:"dependencies"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, err
	}
	for _, framework := range slices.Sorted(maps.Keys(lock.Frameworks)) {
		packages := lock.Frameworks[framework]
		for _, id := range slices.Sorted(maps.Keys(packages)) {
			if p := packages[id]; p.Type != "Project" {
				all = append(all, want{kind: "nuget", name: strings.ToLower(id), version: strings.ToLower(p.Resolved)})
			}
		}
	}
	return all, nil
}

// readRenvLock reads a renv.lock (https://rstudio.github.io/renv/articles/lockfile.html).
// What is not of a repository is of another kind.
func readRenvLock(text []byte) (all []want, err error) {
	var lock struct {
		Packages map[string]struct{ Package, Version, Source string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(lock.Packages)) {
		p := lock.Packages[name]
		w := want{kind: "cran", name: p.Package, version: p.Version}
		if p.Source != "Repository" && p.Source != "CRAN" {
			w.kind = cacheproxy.HubType("R package from " + p.Source)
		}
		all = append(all, w)
	}
	return all, nil
}

// hexDigest is the digest whose sum is spelled in hexadecimal, if it is one.
func hexDigest(algorithm, sum string) (cacheproxy.Digest, bool) {
	d := cacheproxy.Digest(algorithm + ":" + strings.ToLower(sum))
	h := d.New()
	if h == nil || len(sum) != 2*h.Size() || strings.Trim(d.Hex(), "0123456789abcdef") != "" {
		return "", false
	}
	return d, true
}

// digestOfLength is the digest of a sum that does not say of what algorithm it is.
func digestOfLength(sum string) (cacheproxy.Digest, error) {
	for _, algorithm := range []string{"md5", "sha1", "sha256", "sha512"} {
		if d, ok := hexDigest(algorithm, sum); ok {
			return d, nil
		}
	}
	return "", fmt.Errorf("%.200q is no checksum", sum)
}
