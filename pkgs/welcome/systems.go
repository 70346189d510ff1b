package welcome

// systems are the clients of distributions.
func (a address) systems() []client {
	return []client{
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
		{"flatpak", "flatpak, ostree", "", "KEY.asc is the key that the repository signs with.", func(at string, h Hub) []paste {
			return []paste{
				shell("flatpak, in a shell, if the repository's file is called so", "flatpak remote-add --if-not-exists "+word(h.Name)+" "+word(at+"/"+h.Name+".flatpakrepo")),
				shell("flatpak, where there is a remote "+h.Name+" already", "flatpak remote-modify --url="+word(at+"/")+" "+word(h.Name)),
				shell("ostree, in a shell", "ostree remote add --gpg-import=KEY.asc "+word(h.Name)+" "+word(at)),
			}
		}},
	}
}
