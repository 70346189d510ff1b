package welcome

import (
	"fmt"
	"slices"
	"strings"
)

// A section is what people of one kind of client paste.
type section struct {
	Title  string
	Client string // what setup.sh calls it; "" if it does not do it
	Notes  string
	Pastes []paste
}

type paste struct{ Where, Text string }

// sections are those for what the site has.
func (s *Site) sections(base string) []section {
	_, host, _ := strings.Cut(base, "://")
	name, _, _ := strings.Cut(host, "/")
	insecure := strings.HasPrefix(base, "http://")
	var all []section
	for _, c := range []struct {
		kind, title, client, notes string
		paste                      func(at string, h Hub) []paste
	}{
		{"apt", "apt: Debian, Ubuntu", "apt", "In each source, only the URI changes.", func(at string, h Hub) []paste {
			return []paste{{"/etc/apt/sources.list.d/*.sources, in place of the URI that ends in /" + h.Name, "URIs: " + at}}
		}},
		{"rpm", "dnf, yum, zypper", "dnf", "In each section put a # before metalink= and mirrorlist=.", func(at string, h Hub) []paste {
			example := map[string]string{
				"fedora": "/releases/$releasever/Everything/$basearch/os/", "epel": "/$releasever/Everything/$basearch/",
				"rocky": "/$releasever/BaseOS/$basearch/os/", "almalinux": "/$releasever/BaseOS/$basearch/os/",
			}[h.Name]
			if example == "" {
				example = "/…"
			}
			return []paste{{"/etc/yum.repos.d/*.repo, as it fits the section", "baseurl=" + at + example}}
		}},
		{"apk", "apk: Alpine", "apk", "", func(at string, h Hub) []paste {
			return []paste{{"/etc/apk/repositories, with your release", at + "/v3.23/main\n" + at + "/v3.23/community"}}
		}},
		{"pacman", "pacman", "pacman", "It goes on to the next server when one fails.", func(at string, h Hub) []paste {
			if h.Name == "archlinux" {
				return []paste{{"the first line of /etc/pacman.d/mirrorlist", "Server = " + at + "/$repo/os/$arch"}}
			}
			return []paste{{"its section of /etc/pacman.conf", "Server = " + at + "/$arch"}}
		}},
		{"pypi", "pip, uv", "pip", "", func(at string, h Hub) []paste {
			lines := "pip config set global.index-url " + at + "/simple/"
			if insecure {
				lines += "\npip config set global.trusted-host " + name
			}
			return []paste{{"pip, in a shell", lines}, {"uv, in a shell", "export UV_DEFAULT_INDEX=" + at + "/simple/"}}
		}},
		{"npm", "npm, pnpm, yarn", "npm", "", func(at string, h Hub) []paste {
			return []paste{{"in a shell", "npm config set registry " + at + "/"}}
		}},
		{"go", "go", "go", "It goes to the sources themselves when the cache fails.", func(at string, h Hub) []paste {
			return []paste{{"in a shell", "go env -w 'GOPROXY=" + at + "|direct'"}}
		}},
		{"cargo", "cargo", "cargo", "", func(at string, h Hub) []paste {
			return []paste{{"~/.cargo/config.toml", fmt.Sprintf("[source.crates-io]\nreplace-with = \"cache-proxy\"\n\n[source.cache-proxy]\nregistry = \"sparse+%s/\"", at)}}
		}},
		{"maven", "maven, Gradle", "maven", "", func(at string, h Hub) []paste {
			return []paste{{"~/.m2/settings.xml", fmt.Sprintf("<settings><mirrors><mirror>\n  <id>cache-proxy</id><mirrorOf>central</mirrorOf><url>%s/</url>\n</mirror></mirrors></settings>", at)}}
		}},
		{"oci", "docker, podman, containerd", "docker", "", func(at string, h Hub) (all []paste) {
			if h.Default && !strings.Contains(host, "/") {
				mirrors := fmt.Sprintf("{\"registry-mirrors\": [%q]}", base)
				if insecure {
					mirrors = fmt.Sprintf("{\"registry-mirrors\": [%q], \"insecure-registries\": [%q]}", base, name)
				}
				all = append(all, paste{"/etc/docker/daemon.json", mirrors})
			}
			return append(all, paste{"in a shell", "docker pull " + host + h.Path + "/IMAGE"})
		}},
		{"rustup", "rustup", "", "", func(at string, h Hub) []paste {
			return []paste{{"in a shell", "export RUSTUP_DIST_SERVER=" + at}}
		}},
		{"files", "Plain files", "", "", func(at string, h Hub) []paste {
			return []paste{{"in a shell", "curl -LO " + at + "/…"}}
		}},
	} {
		sec := section{Title: c.title, Client: c.client, Notes: c.notes}
		for _, h := range s.hubs {
			if h.Type == c.kind {
				sec.Pastes = append(sec.Pastes, c.paste(base+h.Path, h)...)
			}
		}
		if len(sec.Pastes) > 0 {
			all = append(all, sec)
		}
	}
	return all
}

// KindOf is the type of hub whose protocol a tree of this name usually is, for
// trees that are served as plain files.
func KindOf(tree string) string {
	for _, k := range []struct {
		kind  string
		trees []string
	}{
		{"apt", []string{"debian", "debian-security", "ubuntu", "ubuntu-ports", "kali"}},
		{"rpm", []string{"fedora", "epel", "rocky", "almalinux", "centos", "centos-stream", "centos-vault", "elrepo", "remi", "rpmfusion"}},
		{"apk", []string{"alpine"}},
		{"pacman", []string{"archlinux", "archlinuxcn", "manjaro", "msys2", "chaotic-aur"}},
		{"pypi", []string{"pypi"}},
		{"rustup", []string{"rust-static"}},
	} {
		if slices.Contains(k.trees, tree) {
			return k.kind
		}
	}
	return "files"
}
