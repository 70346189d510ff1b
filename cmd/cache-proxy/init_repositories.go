package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/format/yaml"
)

// This file has the readers of package managers whose repositories are often
// several, with content of their own each. So each is a hub of its own, and none is
// given public mirrors: nobody could say that those have the same.

// apart names the repositories of one kind: the first for the kind, others for their
// URLs too.
func apart(kind cacheproxy.HubType, urls ...string) (all []origin) {
	for i, u := range urls {
		name := string(kind)
		if i > 0 {
			name += "-" + hubName(u)
		}
		all = append(all, origin{url: u, name: name})
	}
	return all
}

// matches are the first groups of all that pattern matches, each once.
func matches(pattern *regexp.Regexp, text []byte) (all []string) {
	for _, m := range pattern.FindAllSubmatch(text, -1) {
		if s := string(m[1]); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// readComposer reads the repositories of Composer's own config.json, which are an
// object or a list.
func readComposer(text []byte, _ string) []origin {
	var config struct{ Repositories json.RawMessage }
	if json.Unmarshal(text, &config) != nil {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(config.Repositories, &list) != nil {
		var object map[string]json.RawMessage
		if json.Unmarshal(config.Repositories, &object) != nil {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			list = append(list, object[name])
		}
	}
	var urls []string
	for _, item := range list {
		var r struct{ Type, URL string } // or packagist: false
		if json.Unmarshal(item, &r) == nil && r.Type == "composer" {
			urls = append(urls, strings.TrimSuffix(r.URL, "/packages.json"))
		}
	}
	return apart("composer", urls...)
}

// scalars reads the scalars of a YAML file that rules name, as far as it can be read.
func scalars(text []byte, rules yaml.Rules) { _ = yaml.Copy(io.Discard, bytes.NewReader(text), rules) }

// readGemrc reads the sources of gem, whose key is a symbol of Ruby's or a string.
func readGemrc(text []byte, _ string) []origin {
	var urls []string
	source := func(u string) string {
		urls = append(urls, u)
		return u
	}
	scalars(text, yaml.Rules{":sources/*": source, "sources/*": source})
	return apart("rubygems", urls...)
}

var bundleMirror = regexp.MustCompile(`(?m)^BUNDLE_MIRROR__HTTP\S*: ["']?(https?://[^"'\s]+)`)

// readBundle reads the mirrors of Bundler.
func readBundle(text []byte, _ string) []origin {
	return apart("rubygems", matches(bundleMirror, text)...)
}

// readHelm reads helm's repositories, each of which has a name.
func readHelm(text []byte, _ string) (all []origin) {
	name, url := "", ""
	scalars(text, yaml.Rules{
		"repositories/*/name": func(s string) string { name = s; return s },
		"repositories/*/url":  func(s string) string { url = s; return s },
		"repositories/*/": func(s string) string {
			if url != "" {
				all = append(all, origin{url: url, name: "helm-" + hubName("://"+name)})
			}
			name, url = "", ""
			return s
		},
	})
	return all
}

// readCondarc reads the servers of channels: what channel_alias and custom_channels
// name, and where channels lie that are whole URLs.
func readCondarc(text []byte, _ string) []origin {
	var urls []string
	server := func(s string) string {
		if u := strings.TrimSuffix(s, "/"); strings.Contains(u, "://") && !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
		return s
	}
	channel := func(s string) string {
		if scheme, rest, ok := strings.Cut(s, "://"); ok {
			server(scheme + "://" + path.Dir(rest))
		}
		return s
	}
	scalars(text, yaml.Rules{
		"channel_alias": server, "custom_channels/*": server,
		"channels/*": channel, "default_channels/*": channel, "custom_multichannels/*/*": channel,
	})
	return apart("conda", urls...)
}

// readNuGetConfig reads the feeds that speak version 3.
func readNuGetConfig(text []byte, _ string) []origin {
	var config struct {
		Sources []struct {
			URL string `xml:"value,attr"`
		} `xml:"packageSources>add"`
	}
	if err := xml.NewDecoder(bytes.NewReader(text)).Decode(&config); err != nil {
		return nil
	}
	var urls []string
	for _, s := range config.Sources {
		// The hub has its own at one of both, and the rest where that says.
		for _, ending := range []string{"/v3/index.json", "/index.json"} {
			if base, ok := strings.CutSuffix(s.URL, ending); ok {
				urls = append(urls, base)
				break
			}
		}
	}
	return apart("nuget", urls...)
}

var rRepository = regexp.MustCompile(`["'\x60]?CRAN["'\x60]?\s*=\s*["'](https?://[^"']+)["']`)

// readRprofile reads what is set as CRAN.
func readRprofile(text []byte, _ string) []origin {
	return apart("cran", matches(rRepository, text)...)
}

var networkMirror = regexp.MustCompile(`network_mirror\s*\{[^}]*?\burl\s*=\s*"(https?://[^"]+)"`)

// readTerraformrc reads network mirrors.
func readTerraformrc(text []byte, _ string) []origin {
	return apart("terraform", matches(networkMirror, text)...)
}

var rebarCDN = regexp.MustCompile(`\{\s*rebar_packages_cdn\s*,\s*"(https?://[^"]+)"`)

// readRebar reads where rebar3 has packages from.
func readRebar(text []byte, _ string) []origin {
	return apart("hex", matches(rebarCDN, text)...)
}

// readFlatpak reads the remotes of an installation, each of which has a name.
func readFlatpak(text []byte, _ string) (all []origin) {
	settings(text, func(section, key, value string) {
		if rest, ok := strings.CutPrefix(section, `remote "`); ok && key == "url" {
			all = append(all, origin{url: value, name: hubName("://" + strings.TrimSuffix(rest, `"`))})
		}
	})
	return all
}

// repositoryFiles are what repositories are read from.
func (m *machine) repositoryFiles() []reader {
	return []reader{
		{"composer", m.files("~/.config/composer/config.json", "~/.composer/config.json"), readComposer},
		{"rubygems", m.files("/etc/gemrc", "~/.gemrc"), readGemrc},
		{"rubygems", m.files("~/.bundle/config"), readBundle},
		{"helm", m.files("~/.config/helm/repositories.yaml"), readHelm},
		{"conda", m.files("/etc/conda/.condarc", "/etc/conda/condarc", "~/.condarc", "~/.config/conda/.condarc"), readCondarc},
		{"nuget", m.files("~/.nuget/NuGet/NuGet.Config", "~/.config/NuGet/NuGet.Config"), readNuGetConfig},
		{"cran", m.files("/etc/R/Rprofile.site", "/usr/lib/R/etc/Rprofile.site", "~/.Rprofile"), readRprofile},
		{"terraform", m.files("~/.terraformrc", "~/.tofurc"), readTerraformrc},
		{"hex", m.files("~/.config/rebar3/rebar.config"), readRebar},
		{"flatpak", m.files("/var/lib/flatpak/repo/config", "~/.local/share/flatpak/repo/config"), readFlatpak},
	}
}

// fromEnvironment is what variables say of this machine.
func fromEnvironment(get func(string) string) (all []origin) {
	for _, u := range goProxies(get("GOPROXY")) {
		all = append(all, origin{kind: "go", url: u, name: "go", from: "GOPROXY"})
	}
	for _, v := range []struct {
		name string
		kind cacheproxy.HubType
	}{{"HEX_MIRROR", "hex"}, {"HEX_CDN", "hex"}, {"PUB_HOSTED_URL", "pub"}} {
		if u := get(v.name); u != "" {
			all = append(all, origin{kind: v.kind, url: u, name: string(v.kind), from: v.name})
		}
	}
	return all
}
