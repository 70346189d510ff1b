package cacheproxy

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// public checks the proxy's own URL and takes the slash off its end.
func (d *decoder) public(c *Config) {
	if !c.PublicURL.IsSet() {
		return
	}
	switch base := *c.PublicURL.URL; {
	case base.Scheme != "http" && base.Scheme != "https":
		d.reject("public-url", "scheme %q is neither http nor https", base.Scheme)
	case base.User != nil:
		d.reject("public-url", "has credentials, which every client would see")
	default:
		base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
		c.PublicURL = URL{&base}
	}
}

// hubs checks each hub, and that no two are the same to a client or in the store.
func (d *decoder) hubs(c *Config) {
	names, paths, hosts, spaces := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	standard := -1
	for i := range c.Hubs {
		h, at := &c.Hubs[i], fmt.Sprintf("hubs[%d]", i)
		once := func(seen map[string]int, key, value string) {
			if first, ok := seen[value]; ok {
				d.reject(at+"."+key, "%s is hubs[%d] already", value, first)
			}
			seen[value] = i
		}
		if d.hubName(at, h); h.Name != "" {
			once(names, "name", h.Name)
		}
		if h.Path != "" {
			d.hubPath(at, h, len(c.Upstream) > 0)
		} else {
			h.Path = "/" + h.Name
		}
		once(paths, "path", h.Path)
		d.hosts(at+".hosts", h.Hosts, false)
		for j, host := range h.Hosts {
			once(hosts, fmt.Sprintf("hosts[%d]", j), host)
		}
		for j := range h.Upstream {
			d.upstream(fmt.Sprintf("%s.upstream[%d]", at, j), &h.Upstream[j])
			if h.Type == "go" {
				d.direct(fmt.Sprintf("%s.upstream[%d].server", at, j), h)
			}
		}
		if len(h.Upstream) == 0 {
			d.warn(at+".upstream", "no upstream: nothing can be fetched")
		}
		d.options(at+".options", h)
		d.members(at, h)
		d.accounts(at, h)
		d.transparent(at, h)
		for j, ns := range h.Options.NS {
			once(spaces, fmt.Sprintf("options.ns[%d]", j), ns)
		}
		if h.Options.Default && standard >= 0 {
			d.reject(at+".options.default", "hubs[%d] is the default already", standard)
		} else if h.Options.Default {
			standard = i
		}
		if h.Type == HubFiles {
			h.Rollout = RolloutLegacyOnly // there is nothing else to roll out
		}
	}
}

// direct says more of the word that is an upstream in GOPROXY, but none here.
func (d *decoder) direct(at string, h *Hub) {
	for i := range d.problems {
		if p := &d.problems[i]; p.Path == at && strings.HasPrefix(p.Reason, `"direct" `) {
			p.Reason += "; version control is not run here, but clients may: GOPROXY=http://HOST" + h.Path + ",direct"
		}
	}
}

// hubName checks the name, which is a directory, a label and a field of the log.
func (d *decoder) hubName(at string, h *Hub) {
	switch {
	case h.Name == "": // required
	case !isName(h.Name):
		d.reject(at+".name", "%q is no name: at most 64 of a-z 0-9 . _ -, a letter or digit first", h.Name)
	case h.Name == defaultHub:
		d.reject(at+".name", "%q is the hub of the section upstream", h.Name)
	case h.Name == "debug":
		d.reject(at+".name", "%q is reserved", h.Name)
	}
}

// hubPath checks the mount. served says that the default hub serves what no other does.
func (d *decoder) hubPath(at string, h *Hub, served bool) {
	h.Path = strings.TrimRight(h.Path, "/")
	at += ".path"
	if h.Path == "" {
		d.reject(at, "a hub cannot be mounted at /, which is the hub of the section upstream; give it hosts instead")
		return
	}
	canonical, _, err := hub.Path(&url.URL{Path: h.Path})
	switch {
	case err != nil || canonical != h.Path:
		d.reject(at, "%q is no path of plain segments such as /pypi", h.Path)
	case h.Path+"/" == ownPrefix || strings.HasPrefix(h.Path, ownPrefix):
		d.reject(at, "%s is below %s, which is the proxy's own", h.Path, ownPrefix)
	case h.Path == "/debug" || strings.HasPrefix(h.Path, "/debug/"):
		d.reject(at, "%s is below /debug/, which is reserved", h.Path)
	case served && h.Path != "/"+h.Name && isName(h.Name):
		d.reject(at, "the section upstream has mirrors, and may store /%s/… where hub %s stores its files; "+
			"leave path at /%s, or move those mirrors to a hub of their own", h.Name, h.Name, h.Name)
	}
}

// hosts checks names of hosts, maybe with a port, and brings them into lower case.
func (d *decoder) hosts(at string, hosts []string, ports bool) {
	for i, host := range hosts {
		at := at
		if listed := fmt.Sprintf("%s[%d]", at, i); d.lines[listed] != 0 {
			at = listed
		}
		hosts[i] = strings.ToLower(strings.TrimSuffix(host, "."))
		name, port, hasPort := strings.Cut(hosts[i], ":")
		switch _, err := strconv.ParseUint(port, 10, 16); {
		case isHost(hosts[i]):
		case !hasPort || !isHost(name) || err != nil:
			d.reject(at, "%q is no name of a host such as pypi.example.org", host)
		case !ports:
			d.reject(at, "%q has a port, which makes no difference to hubs", host)
		}
	}
}

// options checks what the type of h has of them.
func (d *decoder) options(at string, h *Hub) {
	o := &h.Options
	t := reflect.TypeFor[HubOptions]()
	for i := range t.NumField() {
		name, _ := tag(t.Field(i))
		types := t.Field(i).Tag.Get("hub")
		if d.lines[join(at, name)] != 0 && !hasOption(types, h.Type) {
			d.reject(join(at, name), "hubs of type %s have no such option, only those of type %s do", h.Type, strings.ReplaceAll(types, ",", ", "))
		}
	}
	hold, _ := t.FieldByName("Hold")
	switch given := d.lines[at+".hold"] != 0; {
	case given && o.Hold <= 0:
		d.reject(at+".hold", "%v is no time to wait", o.Hold)
	case !given && hasOption(hold.Tag.Get("hub"), h.Type):
		o.Hold = Duration(10 * time.Minute)
	}
	for _, alias := range slices.Sorted(maps.Keys(o.Files)) {
		d.base(join(at+".files", alias), o.Files[alias])
		if !isName(alias) {
			d.reject(join(at+".files", alias), "%q is no alias: at most 64 of a-z 0-9 . _ -, a letter or digit first", alias)
		}
	}
	for i, status := range o.Absent {
		if status < 400 || status > 499 {
			d.reject(fmt.Sprintf("%s.absent[%d]", at, i), "%d is no status code from 400 to 499", status)
		}
	}
	if h.Type == "rpm" && o.Metalink == "" {
		o.Metalink = MetalinkProxy
	}
	d.sumdbs(at, o)
	d.hosts(at+".ns", o.NS, true)
	d.hosts(at+".auth-hosts", o.AuthHosts, true)
	d.hosts(at+".hosts", o.Hosts, true)
}

// hasOption says that hubs of type t have an option with this tag.
func hasOption(types string, t HubType) bool {
	return types == "" || slices.Contains(strings.Split(types, ","), string(t))
}

// sumdbs checks what goes with checksum databases.
func (d *decoder) sumdbs(at string, o *HubOptions) {
	for i := range o.Sumdb {
		db, at := &o.Sumdb[i], fmt.Sprintf("%s.sumdb[%d]", at, i)
		if db.Name == "" { // required
			continue
		}
		if !isHost(db.Name) {
			d.reject(at, "%q is no name such as sum.example.org", db.Name)
			continue
		}
		if slices.ContainsFunc(o.Sumdb[:i], func(s Sumdb) bool { return s.Name == db.Name }) {
			d.reject(at, "%s is listed twice", db.Name)
		}
		if _, taken := o.Files[db.Name]; taken {
			d.reject(at, "%s is an alias of files too", db.Name)
		}
		if !db.URL.IsSet() {
			db.URL = URL{&url.URL{Scheme: "https", Host: db.Name}}
		}
		d.base(at+".url", db.URL)
	}
	if o.Verify == VerifySumdb && len(o.Sumdb) == 0 {
		d.reject(at+".verify", "there is no sumdb to verify by")
	}
	for i, pattern := range o.Private {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.ContainsAny(pattern, ", ") {
			d.reject(fmt.Sprintf("%s.private[%d]", at, i), "%q is no pattern such as example.org/private or *.corp.example.org", pattern)
		}
	}
}

// base checks the URL of a second host.
func (d *decoder) base(at string, u URL) {
	switch {
	case !u.IsSet():
		if !slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Path == at }) {
			d.reject(at, "required")
		}
	case u.Scheme != "http" && u.Scheme != "https":
		d.reject(at, "scheme %q is neither http nor https", u.Scheme)
	case u.User != nil:
		d.reject(at, "has credentials; a second host gets none")
	}
}

// isName reports whether s may name a hub or an alias.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexByte("._-", s[0]) < 0 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

// isHost reports whether s, in lower case, may be the name of a host, or is an address.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && len(s) <= 253 && s[0] != '.' && !strings.Contains(s, "..") && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}
