package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

const maxLock = 256 << 20

// readWants reads what the arguments name, each want once.
func readWants(args []string, stdin io.Reader) ([]want, error) {
	var all []want
	for _, arg := range args {
		if strings.Contains(arg, "://") || strings.HasPrefix(arg, "/") && !isFile(arg) {
			all = append(all, want{url: arg})
			continue
		}
		from := stdin
		if arg != "-" {
			f, err := os.Open(arg)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			from = f
		}
		text, err := io.ReadAll(io.LimitReader(from, maxLock+1))
		if err == nil && len(text) > maxLock {
			err = fmt.Errorf("more than %d bytes", maxLock)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		found, err := readLock(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		all = append(all, found...)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(w want) bool {
		id := fmt.Sprint(w, w.url, w.mod)
		again := seen[id]
		seen[id] = true
		return again
	}), nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// readLock finds out what text is, and reads it. With an error nothing of it counts.
func readLock(text []byte) ([]want, error) {
	all, err := readKind(text)
	if err != nil {
		return nil, err
	}
	return all, nil
}

func readKind(text []byte) ([]want, error) {
	for _, l := range textLocks {
		if l.told.Match(text) {
			return l.read(text)
		}
	}
	trimmed := bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(trimmed, []byte("{")):
		return readJSONLock(trimmed)
	case bytes.Contains(text, []byte("[[package]]")):
		return readCargoLock(text)
	case goSum.Match(text):
		return readGoSum(text)
	case urlLine.Match(text):
		return readList(text)
	}
	return readRequirements(text)
}

var (
	goSum   = regexp.MustCompile(`(?m)^\S+ v\S+ h1:`)
	urlLine = regexp.MustCompile(`(?m)^(https?://|/)`)
)

func readJSONLock(text []byte) ([]want, error) {
	var kind struct {
		BOM  string          `json:"bomFormat"`
		SPDX string          `json:"spdxVersion"`
		Npm  json.RawMessage `json:"lockfileVersion"`

		Composer string                     `json:"content-hash"`
		R        map[string]json.RawMessage `json:"R"`
		NuGet    map[string]json.RawMessage `json:"dependencies"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, err
	}
	switch {
	case kind.BOM != "":
		return readCycloneDX(text)
	case kind.SPDX != "":
		return readSPDX(text)
	case kind.Npm != nil:
		return readNpmLock(text)
	case kind.Composer != "":
		return readComposerLock(text)
	case kind.R != nil:
		return readRenvLock(text)
	case kind.NuGet != nil:
		return readNuGetLock(text)
	}
	return nil, errors.New("neither a package-lock.json, composer.lock, packages.lock.json or renv.lock, nor an SBOM of CycloneDX or SPDX")
}

// An npmPackage is one of a package-lock.json.
type npmPackage struct {
	Name      string `json:"name"` // where it is not that of the folder
	Version   string `json:"version"`
	Resolved  string `json:"resolved"`
	Integrity string `json:"integrity"`
	Link      bool   `json:"link"`
	Bundled   bool   `json:"inBundle"`

	Dependencies map[string]npmPackage `json:"dependencies"` // version 1
}

// readNpmLock reads the packages of versions 2 and 3, or else the tree of version 1
// (npm CLI documentation, "package-lock.json").
func readNpmLock(text []byte) (all []want, err error) {
	var lock struct {
		Packages     map[string]json.RawMessage `json:"packages"`
		Dependencies map[string]json.RawMessage `json:"dependencies"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, err
	}
	tree := lock.Packages == nil
	from := lock.Packages
	if tree {
		from = lock.Dependencies
	}
	for _, at := range slices.Sorted(maps.Keys(from)) {
		var p npmPackage
		if !tree && at == "" {
			continue // the project itself
		}
		if !tree { // what depends on what is of another form there
			var flat struct {
				Name, Version, Resolved, Integrity string
				Link, InBundle                     bool
			}
			if err := json.Unmarshal(from[at], &flat); err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			p = npmPackage{Name: flat.Name, Version: flat.Version, Resolved: flat.Resolved, Integrity: flat.Integrity, Link: flat.Link, Bundled: flat.InBundle}
		} else if err := json.Unmarshal(from[at], &p); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		name := at
		if i := strings.LastIndex(at, "node_modules/"); i >= 0 {
			name = at[i+len("node_modules/"):]
		} else if !tree {
			continue // a folder of the project
		}
		all = p.wants(name, all, 0)
	}
	return all, nil
}

// wants adds the tarball of p, and of what is below it.
func (p npmPackage) wants(name string, to []want, depth int) []want {
	if p.Name != "" {
		name = p.Name
	}
	u, err := url.Parse(p.Resolved)
	fromRegistry := p.Resolved == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https")
	if p.Version != "" && !p.Link && !p.Bundled && fromRegistry {
		w := want{kind: "npm", name: name, version: p.Version}
		if _, file, ok := strings.Cut(p.Resolved, "/"+name+"/-/"); ok {
			file, _, _ = strings.Cut(file, "?")
			w.url = "/" + name + "/-/" + file
		} else {
			w.url = p.Resolved // a place of its own
		}
		if d := sri(p.Integrity); d != "" {
			w.digests = []cacheproxy.Digest{d}
		}
		to = append(to, w)
	}
	for _, below := range slices.Sorted(maps.Keys(p.Dependencies)) {
		if depth < 100 {
			to = p.Dependencies[below].wants(below, to, depth+1)
		}
	}
	return to
}

// sri is the strongest digest of an integrity field; "" if it has none that is known.
func sri(s string) cacheproxy.Digest {
	for _, algorithm := range []string{"sha512", "sha384", "sha256", "sha1"} {
		for field := range strings.FieldsSeq(s) {
			sum, ok := strings.CutPrefix(field, algorithm+"-")
			sum, _, _ = strings.Cut(sum, "?")
			if raw, err := base64.StdEncoding.DecodeString(sum); ok && err == nil {
				return cacheproxy.Digest(fmt.Sprintf("%s:%x", algorithm, raw))
			}
		}
	}
	return ""
}

// readGoSum reads a go.sum: of a line MODULE VERSION/go.mod go wants the go.mod alone.
func readGoSum(text []byte) (all []want, err error) {
	err = lines(text, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return errors.New("want MODULE VERSION HASH")
		}
		version, mod := strings.CutSuffix(fields[1], "/go.mod")
		all = append(all, want{kind: "go", name: fields[0], version: version, mod: mod})
		return nil
	})
	return all, err
}

// readList reads URLs and paths.
func readList(text []byte) (all []want, err error) {
	err = lines(text, func(line string) error {
		if line[0] != '#' {
			all = append(all, want{url: line})
		}
		return nil
	})
	return all, err
}

// lines calls f with each line that is not empty.
func lines(text []byte, f func(string) error) error {
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		if line := strings.TrimSpace(in.Text()); line != "" {
			if err := f(line); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	return in.Err()
}

var pinned = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*([^\s;,\\]+)`)

// readRequirements reads a requirements.txt. What is not pinned is an error, since
// nobody knows which files it would come to; options are passed over.
func readRequirements(text []byte) (all []want, err error) {
	joined := strings.NewReplacer("\\\r\n", " ", "\\\n", " ").Replace(string(text))
	err = lines([]byte(joined), func(line string) error {
		if i := strings.Index(" "+line, " #"); i >= 0 {
			line = strings.TrimSpace(line[:i])
		}
		if line == "" || line[0] == '-' {
			return nil
		}
		m := pinned.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("%.100q has no version pinned with ==", line)
		}
		w := want{kind: "pypi", name: m[1], version: m[2]}
		for field := range strings.FieldsSeq(line) {
			if sum, ok := strings.CutPrefix(field, "--hash=sha256:"); ok {
				w.digests = append(w.digests, cacheproxy.Digest("sha256:"+strings.ToLower(sum)))
			}
		}
		all = append(all, w)
		return nil
	})
	return all, err
}

// readCargoLock reads the packages of a Cargo.lock that come from a registry, which
// have a checksum. It knows the TOML that cargo writes: a key a line.
func readCargoLock(text []byte) (all []want, err error) {
	var w want
	end := func() {
		if w.kind != "" && len(w.digests) > 0 {
			all = append(all, w)
		}
		w = want{}
	}
	err = lines(text, func(line string) error {
		if strings.HasPrefix(line, "[") {
			end()
			if line == "[[package]]" {
				w.kind = "cargo"
			}
			return nil
		}
		key, value, _ := strings.Cut(line, " = ")
		value = strings.Trim(value, `"`)
		switch {
		case w.kind == "":
		case key == "name":
			w.name = value
		case key == "version":
			w.version = value
		case key == "checksum":
			if len(value) != 64 {
				return fmt.Errorf("%q is no checksum", value)
			}
			w.digests = []cacheproxy.Digest{cacheproxy.Digest("sha256:" + value)}
		}
		return nil
	})
	end()
	return all, err
}
