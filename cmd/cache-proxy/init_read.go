package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/deb822"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/ini"
)

// A reader says what files of a package manager name.
type reader struct {
	kind  cacheproxy.HubType
	files []string
	read  func(text []byte, file string) []origin
}

// origins reads all that a machine says of where it installs from.
func (m *machine) origins() (all []origin, err error) {
	for _, r := range append([]reader{
		{"apt", m.files("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list"), readAptList},
		{"apt", m.files("/etc/apt/sources.list.d/*.sources"), readAptSources},
		{"rpm", m.files("/etc/yum.repos.d/*.repo", "/etc/zypp/repos.d/*.repo"), readRepos},
		{"apk", m.files("/etc/apk/repositories"), readPlain},
		{"pacman", m.files("/etc/pacman.d/mirrorlist"), readMirrorlist},
		{"pypi", m.files("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf"), readPip},
		{"npm", m.files("/etc/npmrc", "~/.npmrc"), readNpmrc},
		{"go", m.files("~/.config/go/env"), readGoEnv},
		{"cargo", m.files("~/.cargo/config", "~/.cargo/config.toml"), readCargoConfig},
		{"maven", m.files("/etc/maven/settings.xml", "~/.m2/settings.xml"), readMavenSettings},
		{"oci", m.files("/etc/docker/daemon.json"), readDaemon},
	}, m.repositoryFiles()...) {
		for _, file := range r.files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for _, o := range r.read(text, file) {
				o.kind, o.from = r.kind, file
				all = append(all, o)
			}
		}
	}
	if m.root == "/" {
		all = append(all, fromEnvironment(os.Getenv)...)
	}
	return all, nil
}

// readAptList reads lines of sources.list(5).
func readAptList(text []byte, _ string) (all []origin) {
	_ = lines(text, func(line string) error {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if kind != "deb" {
			return nil
		}
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if fields := strings.Fields(rest); len(fields) > 1 {
			all = append(all, origin{url: fields[0]})
		}
		return nil
	})
	return all
}

// readAptSources reads the stanzas of deb822-style sources.
func readAptSources(text []byte, _ string) (all []origin) {
	stanza := map[string]string{}
	field := ""
	end := func() {
		if slices.Contains(strings.Fields(stanza["types"]), "deb") && !strings.EqualFold(strings.TrimSpace(stanza["enabled"]), "no") {
			for u := range strings.FieldsSeq(stanza["uris"]) {
				all = append(all, origin{url: u})
			}
		}
		clear(stanza)
	}
	_ = deb822.Lines(bytes.NewReader(text), func(line []byte) error {
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			end()
			return nil
		case line[0] == '#':
			return nil
		}
		name, value, err := deb822.Field(line)
		if err != nil {
			return nil // apt would not read this file: what is in the rest of it does no harm
		}
		if name != nil {
			field = strings.ToLower(string(name))
			delete(stanza, field)
		}
		stanza[field] += " " + string(value)
		return nil
	})
	end()
	return all
}

// settings calls f with each key of an INI file that can be read.
func settings(text []byte, f func(section, key, value string)) {
	_ = ini.Read(bytes.NewReader(text), func(section, key, value string) error {
		f(section, key, value)
		return nil
	})
}

// readRepos reads the repositories of dnf. One that only a list of mirrors is known
// of is that of the distribution which its file is named for.
func readRepos(text []byte, file string) (all []origin) {
	type repo struct{ base, list, enabled string }
	repos, order := map[string]*repo{}, []string{}
	settings(text, func(section, key, value string) {
		if repos[section] == nil {
			repos[section] = &repo{}
			order = append(order, section)
		}
		switch r := repos[section]; key {
		case "baseurl":
			r.base = value
		case "metalink", "mirrorlist":
			r.list = value
		case "enabled":
			r.enabled = value
		}
	})
	for _, section := range order {
		switch r := repos[section]; {
		case r.enabled == "0":
		case r.base != "":
			for u := range strings.FieldsSeq(strings.ReplaceAll(r.base, ",", " ")) {
				all = append(all, origin{url: u})
			}
		case r.list != "":
			name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".repo"), "-")
			all = append(all, origin{name: strings.ToLower(name)})
		}
	}
	return all
}

// readPlain reads a URL a line, which a tag may precede (@edge).
func readPlain(text []byte, _ string) (all []origin) {
	_ = lines(text, func(line string) error {
		fields := strings.Fields(line)
		if u := fields[len(fields)-1]; line[0] != '#' && strings.Contains(u, "://") {
			all = append(all, origin{url: u})
		}
		return nil
	})
	return all
}

// readMirrorlist reads the servers of pacman, three at most: the rest are spare.
func readMirrorlist(text []byte, _ string) (all []origin) {
	settings(text, func(_, key, value string) {
		if key == "Server" && len(all) < 3 {
			all = append(all, origin{url: value})
		}
	})
	return all
}

func readPip(text []byte, _ string) (all []origin) {
	settings(text, func(_, key, value string) {
		if strings.ReplaceAll(key, "_", "-") == "index-url" {
			all = append(all, origin{url: strings.TrimSuffix(strings.TrimSuffix(value, "/"), "/simple"), name: "pypi"})
		}
	})
	return all
}

// readNpmrc reads the registries, each scope's as a hub of its own.
func readNpmrc(text []byte, _ string) (all []origin) {
	settings(text, func(_, key, value string) {
		value = strings.Trim(value, `"'`)
		if key == "registry" {
			all = append(all, origin{url: value, name: "npm"})
		} else if scope, ok := strings.CutSuffix(key, ":registry"); ok {
			all = append(all, origin{url: value, name: "npm-" + hubName("://"+strings.TrimPrefix(scope, "@"))})
		}
	})
	return all
}

func readGoEnv(text []byte, _ string) (all []origin) {
	settings(text, func(_, key, value string) {
		if key == "GOPROXY" {
			for _, u := range goProxies(value) {
				all = append(all, origin{url: u, name: "go"})
			}
		}
	})
	return all
}

// goProxies are the proxies of a GOPROXY.
func goProxies(s string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '|' }), func(u string) bool { return !strings.Contains(u, "://") })
}

var sparse = regexp.MustCompile(`(?m)^\s*(?:registry|index)\s*=\s*["']sparse\+(https?://[^"']+)["']`)

// readCargoConfig reads the sparse registries; the one that stands first is taken,
// since others have other crates.
func readCargoConfig(text []byte, _ string) []origin {
	if m := sparse.FindSubmatch(text); m != nil {
		return []origin{{url: string(m[1]), name: "cargo"}}
	}
	return nil
}

// readMavenSettings reads the first mirror.
func readMavenSettings(text []byte, _ string) []origin {
	var settings struct {
		Mirrors []struct {
			URL string `xml:"url"`
		} `xml:"mirrors>mirror"`
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&settings); err != nil || len(settings.Mirrors) == 0 {
		return nil
	}
	return []origin{{url: strings.TrimSpace(settings.Mirrors[0].URL), name: "maven"}}
}

// readDaemon reads docker's mirrors.
func readDaemon(text []byte, _ string) (all []origin) {
	var daemon struct {
		Mirrors []string `json:"registry-mirrors"`
	}
	if err := json.Unmarshal(text, &daemon); err != nil {
		return nil
	}
	for _, u := range daemon.Mirrors {
		all = append(all, origin{url: u, name: "oci"})
	}
	return all
}
