package filter

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A Pattern means packages, and versions of them. It is written as a package URL
// (purl, https://github.com/package-url/purl-spec) in whose parts * is any text:
//
//	pkg:npm/left-pad            every version of it
//	pkg:npm/%40scope/*@1.*      versions that begin with "1." of what is in a scope
//	pkg:golang/example.org/x/*  modules below a path
//	left-pad@1.0.0              of whatever type
//
// Names are compared as the hub's type compares them: those of nuget in whatever
// letter case, My_Name of pypi is my-name.
type Pattern struct {
	text             string
	kind, name, vers string // kind: that of a purl, "" is any; vers: "" is every version
}

// purls are the types of package URLs, and which types of hubs serve them. Helm and
// terraform are candidates of the specification.
var purls = map[string][]string{
	"npm": {"npm"}, "pypi": {"pypi"}, "golang": {"go"}, "cargo": {"cargo"}, "nuget": {"nuget"}, "cran": {"cran"}, "maven": {"maven"},
	"composer": {"composer"}, "gem": {"rubygems"}, "conda": {"conda"}, "hex": {"hex"}, "pub": {"pub"},
	"oci": {"oci"}, "docker": {"oci"}, "helm": {"helm"}, "terraform": {"terraform"},
	"deb": {"apt"}, "rpm": {"rpm"}, "apk": {"apk"}, "alpm": {"pacman"}, "generic": {"files", "http", "flatpak"},
}

// distributions are types whose namespace is a vendor, which hubs do not know.
var distributions = []string{"deb", "rpm", "apk", "alpm"}

// UnmarshalText reads a pattern.
func (p *Pattern) UnmarshalText(text []byte) error {
	s := string(text)
	bad := func(reason string) error {
		return fmt.Errorf("%q is no package URL such as pkg:npm/left-pad@1.*: %s", s, reason)
	}
	*p = Pattern{text: s}
	rest, typed := strings.CutPrefix(s, "pkg:")
	if typed {
		var ok bool
		if p.kind, rest, ok = strings.Cut(strings.TrimLeft(rest, "/"), "/"); !ok {
			return bad("it has no name")
		}
		if p.kind = strings.ToLower(p.kind); p.kind == "*" {
			p.kind = ""
		} else if purls[p.kind] == nil {
			return bad("the type " + p.kind + " is none that is served")
		}
	}
	if strings.ContainsAny(rest, "?#") {
		return bad("qualifiers and subpaths select nothing here")
	}
	if at := strings.LastIndexByte(rest, '@'); at > 0 {
		if p.vers = rest[at+1:]; p.vers == "" {
			return bad("the version is empty")
		}
		rest = rest[:at]
	}
	var err error
	if p.name, err = url.PathUnescape(strings.Trim(rest, "/")); err != nil {
		return bad("bad escapes")
	}
	if p.vers, err = url.PathUnescape(p.vers); err != nil {
		return bad("bad escapes")
	}
	if p.name == "" {
		return bad("it has no name")
	}
	if slices.Contains(distributions, p.kind) {
		p.name = p.name[strings.LastIndexByte(p.name, '/')+1:]
	}
	if p.kind == "maven" { // pkg:maven/GROUP/ARTIFACT is GROUP:ARTIFACT
		if i := strings.LastIndexByte(p.name, '/'); i >= 0 {
			p.name = p.name[:i] + ":" + p.name[i+1:]
		}
	}
	if p.vers == "*" {
		p.vers = ""
	}
	return nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// names reports whether it is about a package of a hub, in some version at least.
func (p *Pattern) names(hub *Hub, name string) bool {
	return (p.kind == "" || slices.Contains(purls[p.kind], hub.Type)) && glob(spelled(hub.Type, p.name), spelled(hub.Type, name))
}

// spelled is a name, or a pattern of names, in the one of its spellings that hubs of
// a type tell names apart by.
func spelled(hub, name string) string {
	switch hub {
	case "nuget", "composer":
		return strings.ToLower(name)
	case "cargo":
		return strings.ReplaceAll(strings.ToLower(name), "_", "-")
	case "pypi": // PEP 503
		name = strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "_", "-"), ".", "-")
		for strings.Contains(name, "--") {
			name = strings.ReplaceAll(name, "--", "-")
		}
	}
	return name
}

// matches reports whether it is about a version of a package that it names. Not of
// "", which stands for all, unless it is about all.
func (p *Pattern) matches(version string) bool {
	return p.vers == "" || version != "" && (glob(p.vers, version) || glob(p.vers, strings.TrimPrefix(version, "v")))
}

// glob reports whether s is pattern, in which * is any text.
func glob(pattern, s string) bool {
	first, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, rest)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], after
	}
}

// purlOf is a version of a package as a package URL.
func purlOf(hub *Hub, name, version string) string {
	kind := "generic"
	for k, hubs := range purls {
		if slices.Contains(hubs, hub.Type) && k != "docker" {
			kind = k
		}
	}
	if kind == "maven" {
		name = strings.Replace(name, ":", "/", 1)
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.PathEscape(parts[i]), "@", "%40")
	}
	s := "pkg:" + kind + "/" + strings.Join(parts, "/")
	if version != "" {
		s += "@" + url.PathEscape(version)
	}
	return s
}
