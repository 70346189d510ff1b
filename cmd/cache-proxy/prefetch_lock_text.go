package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// textLocks are the lock files that are neither JSON nor have a line for each
// package alone, each with what tells it from the others.
var textLocks = []struct {
	told *regexp.Regexp
	read func(text []byte) ([]want, error)
}{
	{regexp.MustCompile(`(?m)^GEM\r?$`), readGemfileLock},
	{regexp.MustCompile(`\{pkg,\s*<<"`), readRebarLock},
	{regexp.MustCompile(`\{:hex,`), readMixLock},
	{regexp.MustCompile(`(?m)^provider "[^"]+" \{`), readTerraformLock},
	{regexp.MustCompile(`(?m)^(@EXPLICIT\b|\s*- conda: |\s+manager: conda\b)`), readCondaLock},
	{regexp.MustCompile(`(?m)^sdks:\r?$`), readPubspecLock},
	{regexp.MustCompile(`(?m)^digest: sha256:[0-9a-f]{64}\r?$`), readChartLock},
}

// indented calls f with each line that is not empty, and how many blanks are before it.
func indented(text []byte, f func(indent int, line string) error) error {
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimLeft(in.Text(), " ")
		indent := len(in.Text()) - len(line)
		if line = strings.TrimSpace(line); line != "" {
			if err := f(indent, line); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	return in.Err()
}

var (
	gemSpec     = regexp.MustCompile(`^([A-Za-z0-9._-]+) \(([^)=<> ]+)\)$`)
	gemChecksum = regexp.MustCompile(`^([A-Za-z0-9._-]+) \(([^)=<> ]+)\) sha256=([0-9a-f]{64})$`)
)

// readGemfileLock reads the gems of a Gemfile.lock that come from a repository; a
// platform is part of a version.
func readGemfileLock(text []byte) (all []want, err error) {
	section, sums := "", map[string]cacheproxy.Digest{}
	err = indented(text, func(indent int, line string) error {
		switch {
		case indent == 0:
			section = line
		case section == "GEM" && indent == 4:
			m := gemSpec.FindStringSubmatch(line)
			if m == nil {
				return fmt.Errorf("%.100q is no gem with a version", line)
			}
			all = append(all, want{kind: "rubygems", name: m[1], version: m[2]})
		case section == "CHECKSUMS":
			if m := gemChecksum.FindStringSubmatch(line); m != nil {
				sums[m[1]+" "+m[2]] = cacheproxy.Digest("sha256:" + m[3])
			}
		}
		return nil
	})
	for i, w := range all {
		if sum, ok := sums[w.name+" "+w.version]; ok {
			all[i].digests = []cacheproxy.Digest{sum}
		}
	}
	return all, err
}

var (
	rebarPackage = regexp.MustCompile(`\{<<"([^"]+)">>,\s*\{pkg,\s*<<"([A-Za-z0-9_]+)">>,\s*<<"([^"]+)">>`)
	rebarSum     = regexp.MustCompile(`\{<<"([^"]+)">>,\s*<<"([0-9A-Fa-f]{64})">>\}`)
	mixPackage   = regexp.MustCompile(`\{:hex, :"?([A-Za-z0-9_]+)"?, "([^"]+)", "[0-9a-f]*".*?(?:, "hexpm(?::([A-Za-z0-9_]+))?")(?:, "([0-9a-f]{64})")?\}`)
)

// readRebarLock reads the packages of a rebar.lock, whose digests of tarballs are
// those of pkg_hash_ext, by application.
func readRebarLock(text []byte) (all []want, err error) {
	sums := map[string]cacheproxy.Digest{}
	if _, outer, ok := bytes.Cut(text, []byte("{pkg_hash_ext,")); ok {
		for _, m := range rebarSum.FindAllSubmatch(outer, -1) {
			sums[string(m[1])] = cacheproxy.Digest("sha256:" + strings.ToLower(string(m[2])))
		}
	}
	for _, m := range rebarPackage.FindAllSubmatch(text, -1) {
		w := want{kind: "hex", name: string(m[2]), version: string(m[3])}
		if sum, ok := sums[string(m[1])]; ok {
			w.digests = []cacheproxy.Digest{sum}
		}
		all = append(all, w)
	}
	return all, nil
}

// readMixLock reads the packages of a mix.lock, a line each. The url of one that an
// organisation has is the place of its repository.
func readMixLock(text []byte) (all []want, err error) {
	err = lines(text, func(line string) error {
		m := mixPackage.FindStringSubmatch(line)
		if m == nil {
			return nil // the first line, the last, or what comes from elsewhere
		}
		w := want{kind: "hex", name: m[1], version: m[2]}
		if m[3] != "" {
			w.url = "/repos/" + m[3]
		}
		if m[4] != "" {
			w.digests = []cacheproxy.Digest{cacheproxy.Digest("sha256:" + m[4])}
		}
		all = append(all, w)
		return nil
	})
	return all, err
}

// readTerraformLock reads a .terraform.lock.hcl as Terraform and OpenTofu write it
// (https://developer.hashicorp.com/terraform/language/files/dependency-lock). Of its
// hashes those of archives count, zh.
func readTerraformLock(text []byte) (all []want, err error) {
	var w want
	err = lines(text, func(line string) error {
		if rest, ok := strings.CutPrefix(line, `provider "`); ok {
			w = want{kind: "terraform"}
			w.name, _, _ = strings.Cut(rest, `"`)
			if strings.Count(w.name, "/") != 2 {
				return fmt.Errorf("%.100q is not HOST/NAMESPACE/TYPE", w.name)
			}
			return nil
		}
		value := strings.Trim(line, `", `)
		switch {
		case w.kind == "":
		case line == "}":
			all = append(all, w)
			w = want{}
		case strings.HasPrefix(line, "version ") || strings.HasPrefix(line, "version="):
			_, value, _ = strings.Cut(line, "=")
			w.version = strings.Trim(value, ` "`)
		case strings.HasPrefix(value, "zh:"):
			if sum, ok := hexDigest("sha256", value[len("zh:"):]); ok {
				w.digests = append(w.digests, sum)
			}
		}
		return nil
	})
	return all, err
}

// readCondaLock reads the packages of what conda list --explicit prints, of a
// pixi.lock or of a conda-lock.yml: URLs, with checksums behind or below them.
func readCondaLock(text []byte) (all []want, err error) {
	at := -1 // of the package that is spoken of; -1: something else is
	known := map[string]int{}
	err = lines(text, func(line string) error {
		line = strings.TrimPrefix(line, "- ")
		key, value, _ := strings.Cut(line, ": ")
		value = strings.Trim(value, `"' `)
		if strings.HasPrefix(line, "http") {
			key, value = "url", line
		}
		switch key {
		case "url", "conda", "pypi":
			link, sum, _ := strings.Cut(value, "#")
			at = -1
			if !condaFile.MatchString(link) {
				return nil
			}
			var ok bool
			if at, ok = known[link]; !ok {
				at = len(all)
				known[link] = at
				all = append(all, want{kind: "conda", url: link})
			}
			if sum == "" {
				return nil
			}
			d, err := digestOfLength(strings.TrimPrefix(sum, "sha256:"))
			all[at].digests = []cacheproxy.Digest{d}
			return err
		case "sha256":
			if d, ok := hexDigest("sha256", value); ok && at >= 0 {
				all[at].digests = []cacheproxy.Digest{d}
			}
		}
		return nil
	})
	return all, err
}

var condaFile = regexp.MustCompile(`^https?://[^ ]+/[a-z0-9_-]+/[^/ ]+\.(conda|tar\.bz2)$`)

// readPubspecLock reads the packages of a pubspec.lock that come from a repository.
// It knows the YAML that dart writes: a key a line.
func readPubspecLock(text []byte) (all []want, err error) {
	var w want
	hosted, packages := false, false
	end := func() {
		if hosted && w.name != "" {
			all = append(all, w)
		}
		w, hosted = want{kind: "pub"}, false
	}
	err = indented(text, func(indent int, line string) error {
		key, value, _ := strings.Cut(line, ":")
		key, value = strings.Trim(key, `"`), strings.Trim(value, ` "'`)
		switch {
		case indent == 0:
			end()
			packages = key == "packages"
		case !packages:
		case indent == 2:
			end()
			w.name = key
		case indent == 4 && key == "version":
			w.version = value
		case indent == 4 && key == "source":
			hosted = value == "hosted"
		case indent == 6 && key == "name" && value != "":
			w.name = value
		case indent == 6 && key == "sha256" && value != "":
			sum, ok := hexDigest("sha256", value)
			if !ok {
				return fmt.Errorf("%.100q is no checksum", value)
			}
			w.digests = []cacheproxy.Digest{sum}
		}
		return nil
	})
	end()
	return all, err
}

// readChartLock reads a Chart.lock (https://helm.sh/docs/helm/helm_dependency/). The
// url of a want is its repository.
func readChartLock(text []byte) (all []want, err error) {
	err = indented(text, func(indent int, line string) error {
		if rest, ok := strings.CutPrefix(line, "- "); ok {
			all = append(all, want{kind: "helm"})
			line = rest
		} else if indent == 0 {
			return nil
		}
		if len(all) == 0 {
			return errors.New("a field of no chart")
		}
		w := &all[len(all)-1]
		key, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, ` "'`)
		switch key {
		case "name":
			w.name = value
		case "version":
			w.version = value
		case "repository":
			w.url = value
		}
		return nil
	})
	return all, err
}
