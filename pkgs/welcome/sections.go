package welcome

import "slices"

// A section is what people of one kind of client paste.
type section struct {
	Title  string
	Client string // what setup.sh calls it; "" if it does not do it
	Notes  string
	Pastes []paste
}

type paste struct{ Where, Text string }

// A client is how people who use hubs of one type set up theirs.
type client struct {
	kind  string // the hubs' type
	title string
	setup string // what setup.sh calls it; "" if it does not do it
	notes string

	// paste is what is pasted for one hub, whose URL, at, has no slash at its end.
	// Nothing is, where notes say why.
	paste func(at string, h Hub) []paste
}

// sections are those for what the site has.
func (s *Site) sections(base string) []section {
	to := reach(base)
	var all []section
	for _, c := range slices.Concat(to.systems(), to.languages(), to.others(), to.services()) {
		sec, used := section{Title: c.title, Client: c.setup, Notes: c.notes}, false
		for _, h := range s.hubs {
			if h.Type == c.kind {
				sec.Pastes, used = append(sec.Pastes, c.paste(base+h.Path, h)...), true
			}
		}
		if used {
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
