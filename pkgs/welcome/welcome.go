// Package welcome is for people who only use the cache: a page that says what
// there is and what to paste for each client, and a shell script that does it.
//
//	Site (hubs) + base URL → Page: HTML
//	                       → Script: POSIX sh, which dash and busybox run
//
// A hub is what the cache has for one ecosystem; its names are what clients may
// call it in the URLs that they have already, by which the script knows them.
// The base is what this client reaches the proxy by.
//
// Both are made for each request and are never the same for everybody, so nobody
// may store them. It asks no mirror, and knows no configuration.
package welcome

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

// A Hub is something that clients can use.
type Hub struct {
	Name    string   // as the configuration has it, or of a tree of its default hub
	Type    string   // of the configuration: apt, rpm, …; files
	Path    string   // below the base: "/debian"
	Names   []string // what else clients may call it: the last segments of its mirrors' URLs
	Default bool     // of type oci: images that name no hub are its

	// Of type terraform: the hosts that its providers are called by; none if it has
	// those of any host.
	Providers []string
}

// A Site is what a proxy has. It does not change, and may be used concurrently.
type Site struct {
	hubs []Hub
}

// New makes a Site of these hubs, in their order.
func New(hubs []Hub) *Site { return &Site{slices.Clone(hubs)} }

// Policy is the Content-Security-Policy of Page, which has styles of its own and
// nothing else.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var (
	//go:embed page.html
	pageText string
	//go:embed setup.sh
	scriptText string
	//go:embed detect.sh
	detectText string

	page = template.Must(template.New("page").Parse(pageText))
)

// Page is the page for those who reach the proxy by base, which has no slash at
// its end.
func (s *Site) Page(base string) ([]byte, error) {
	sections := s.sections(base)
	var known []string
	for _, c := range sections {
		if c.Client != "" {
			known = append(known, c.Client)
		}
	}
	var b bytes.Buffer
	err := page.Execute(&b, struct {
		Base     string
		Setup    bool   // the script knows this base
		Known    string // the clients that it sets up, of those that there are hubs for
		Hubs     []Hub
		Sections []section
	}{base, plain(base), strings.Join(known, ", "), s.hubs, sections})
	if err != nil {
		return nil, fmt.Errorf("page for %s: %w", base, err)
	}
	return b.Bytes(), nil
}

// Script is the script for those who reach the proxy by base. Every name in it is
// of characters that mean nothing to a shell, sed or awk: hubs with others are left
// out, and a base with others is an error.
func (s *Site) Script(base string) ([]byte, error) {
	if !plain(base) {
		return nil, fmt.Errorf("%q has characters that a script cannot hold", base)
	}
	var lines []string
	for _, h := range s.hubs {
		if !plain(h.Path) {
			continue
		}
		var names []string
		for _, name := range append([]string{h.Name, h.Path[strings.LastIndexByte(h.Path, '/')+1:]}, h.Names...) {
			if plain(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		lines = append(lines, h.Type+" "+h.Path+" "+strings.Join(names, ","))
		if h.Default {
			lines = append(lines, "docker "+h.Path+" "+h.Name)
		}
	}
	return []byte(strings.NewReplacer("@BASE@", base, "@HUBS@", strings.Join(lines, "\n")).Replace(scriptText)), nil
}

// Detect is apt's Proxy-Auto-Detect script for those who reach the proxy by base:
// for URLs of these hosts (each with a port if it is not the usual one) it names
// the proxy, as long as that answers. Names are as for Script, and a base must be
// of http and have no path.
func (s *Site) Detect(base string, hosts []string) ([]byte, error) {
	if host, ok := strings.CutPrefix(base, "http://"); !plain(base) || !ok || strings.Contains(host, "/") {
		return nil, fmt.Errorf("%q cannot be apt's proxy", base)
	}
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return !plain(host) })
	return []byte(strings.NewReplacer("@BASE@", base, "@HOSTS@", strings.Join(hosts, " ")).Replace(detectText)), nil
}

// plain says whether s may stand in the script: in quotes, and in expressions of sed and awk.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("./:_~%+[]-", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
