package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) initCommand() *cobra.Command {
	root, output, force := "", "", false
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration for what this machine installs from",
		Long: `Reads where this machine's package managers install from and writes a configuration with a
hub for each: what they use now, and known public mirrors of the same content, which are
commented out where a registry may have packages of its own. It reads
apt's sources.list and *.sources, *.repo of yum and dnf, /etc/apk/repositories, pacman's
mirrorlist, pip.conf, .npmrc, GOPROXY and go's env, cargo's config.toml, maven's settings.xml,
docker's daemon.json, Composer's config.json, .gemrc and Bundler's config, helm's
repositories.yaml, .condarc, NuGet.Config, Rprofile.site and .Rprofile, .terraformrc and
.tofurc, rebar3's rebar.config, HEX_MIRROR, PUB_HOSTED_URL and flatpak's remotes; it changes
none of them. Credentials are left out, and said.
Look at what was written before you serve it: nobody was asked whether mirrors answer.`,
		Example: `  cache-proxy init && cache-proxy check && cache-proxy
  cache-proxy init --output - --root /mnt/image`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			text, err := p.found(root)
			if err != nil {
				return err
			}
			if output == "-" {
				_, err := p.stdout.Write(text)
				return err
			}
			if err := writeNew(output, text, force); err != nil {
				return err
			}
			if _, _, err := cacheproxy.Load(output); err != nil {
				return fmt.Errorf("this needs a hand: %w", err)
			}
			fmt.Fprintf(p.stderr, "%s is written; cache-proxy check --config %s says what it does\n", output, output)
			return nil
		},
	}
	c.Flags().StringVar(&root, "root", "/", "`folder` that the machine's files are below")
	c.Flags().StringVar(&output, "output", "config.yaml", "`file` to write; - is the standard output")
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return c
}

// writeNew writes a file that is not there, unless it may overwrite one.
func writeNew(name string, text []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; --force overwrites it", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// An origin is somewhere that a machine installs from.
type origin struct {
	kind cacheproxy.HubType
	url  string // of what hubs of the kind call an upstream; "": only the family is known
	name string // of the hub, where it is not of a family
	from string // file
}

// A plan is a hub to be written.
type plan struct {
	name   string
	kind   cacheproxy.HubType
	from   []string
	own    []string // upstreams of this machine
	others []string // known mirrors
}

// found is the configuration for what is below root.
func (p *invocation) found(root string) ([]byte, error) {
	m := machine{root: root, say: func(format string, a ...any) { fmt.Fprintf(p.stderr, format+"\n", a...) }}
	all, err := m.origins()
	if err != nil {
		return nil, err
	}
	plans := plansOf(all, m.say)
	if len(plans) == 0 {
		return nil, errors.New("nothing was found that this machine installs from; without any configuration cache-proxy has public mirrors of the usual distributions")
	}
	return configOf(plans), nil
}

// plansOf groups origins to hubs.
func plansOf(all []origin, say func(string, ...any)) []*plan {
	var plans []*plan
	for _, o := range all {
		base, ok := o.base(say)
		if !ok {
			continue
		}
		name, root := "", ""
		if slices.Contains([]cacheproxy.HubType{"apt", "rpm", "apk", "pacman"}, o.kind) {
			name, root = family(base)
		}
		switch {
		case base == "":
			name = o.name
		case name == "":
			if name, root = o.name, base; name == "" {
				name = hubName(base)
			}
		}
		i := slices.IndexFunc(plans, func(p *plan) bool { return p.name == name })
		if i >= 0 && plans[i].kind != o.kind {
			name += "-" + string(o.kind)
			i = slices.IndexFunc(plans, func(p *plan) bool { return p.name == name })
		}
		if i < 0 {
			i = len(plans)
			plans = append(plans, &plan{name: name, kind: o.kind, others: publicMirrors[name]})
		}
		plans[i].add(root, o.from)
	}
	return slices.DeleteFunc(plans, func(p *plan) bool { return len(p.own)+len(p.others) == 0 })
}

func (p *plan) add(own, from string) {
	if own != "" && !slices.Contains(p.own, own) && !slices.Contains(p.others, own) {
		p.own = append(p.own, own)
	}
	if !slices.Contains(p.from, from) {
		p.from = append(p.from, from)
	}
}

// unsure says that nobody can know whether the machine's upstreams have what the
// known mirrors have: a registry of packages may have some of its own, which must not
// be asked of others. A distribution's tree is signed, and is what it is named.
func (p *plan) unsure() bool {
	return len(p.own) > 0 && len(p.others) > 0 && !trees[p.name] &&
		slices.ContainsFunc(p.own, func(u string) bool { return !slices.Contains(publicHosts, host(u)) })
}

func host(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// publicHosts have mirrors of public registries, and no packages of their own.
var publicHosts = []string{
	"docker.mirrors.ustc.edu.cn", "goproxy.cn", "maven.aliyun.com", "mirror.sjtu.edu.cn", "mirrors.163.com",
	"mirrors.aliyun.com", "mirrors.bfsu.edu.cn", "mirrors.cloud.tencent.com", "mirrors.huaweicloud.com",
	"mirrors.tencent.com", "mirrors.tuna.tsinghua.edu.cn", "mirrors.ustc.edu.cn", "pypi.tuna.tsinghua.edu.cn",
	"registry.npmmirror.com", "repo.huaweicloud.com",
}

// base is the origin's URL without what a configuration need not have; not ok says
// that nothing can be done with it.
func (o *origin) base(say func(string, ...any)) (base string, ok bool) {
	if o.url == "" {
		return "", publicMirrors[o.name] != nil
	}
	at, _, _ := strings.Cut(o.url, "$") // variables stand for what is below
	if at != o.url {
		at = at[:strings.LastIndexByte(at, '/')+1]
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		say("%s: %q is left out: no plain http URL", o.from, redacted(o.url))
		return "", false
	}
	if u.User != nil {
		say("%s: the credentials for %s are left out: add username and password to its upstream", o.from, u.Host)
		u.User = nil
	}
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimSuffix(u.String(), "/"), true
}

func redacted(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "what is no URL"
}

// family is the tree of a distribution that a URL is of, or is below, and its root.
func family(base string) (name, root string) {
	u, err := url.Parse(base)
	if err != nil {
		return "", ""
	}
	segments := strings.Split(u.Path, "/")
	for i, s := range segments {
		if s == "rockylinux" {
			s = "rocky"
		}
		if trees[s] {
			u.Path = strings.Join(segments[:i+1], "/")
			return s, u.String()
		}
	}
	return "", ""
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

// hubName is a name for the hub of a URL.
func hubName(base string) string {
	_, rest, _ := strings.Cut(base, "://")
	name := strings.Trim(noName.ReplaceAllString(strings.ToLower(rest), "-"), "-")
	if name == "" || name == "default" {
		name = strings.Trim("hub-"+name, "-")
	}
	return name
}

// trees are those of distributions, by the name that mirrors have them under.
var trees = map[string]bool{
	"debian": true, "debian-security": true, "ubuntu": true, "ubuntu-ports": true, "kali": true,
	"docker-ce": true, "alpine": true, "archlinux": true, "archlinuxcn": true, "manjaro": true,
	"almalinux": true, "rocky": true, "centos": true, "centos-stream": true, "centos-vault": true,
	"fedora": true, "epel": true,
}

// publicMirrors are of the same content, by hub.
var publicMirrors = map[string][]string{
	"debian":          {"https://mirrors.ustc.edu.cn/debian", "https://mirrors.tuna.tsinghua.edu.cn/debian", "https://mirrors.aliyun.com/debian"},
	"debian-security": {"https://mirrors.ustc.edu.cn/debian-security", "https://mirrors.tuna.tsinghua.edu.cn/debian-security", "https://mirrors.aliyun.com/debian-security"},
	"ubuntu":          {"https://mirrors.ustc.edu.cn/ubuntu", "https://mirrors.tuna.tsinghua.edu.cn/ubuntu", "https://mirrors.aliyun.com/ubuntu"},
	"ubuntu-ports":    {"https://mirrors.ustc.edu.cn/ubuntu-ports", "https://mirrors.tuna.tsinghua.edu.cn/ubuntu-ports", "https://mirrors.aliyun.com/ubuntu-ports"},
	"kali":            {"https://mirrors.ustc.edu.cn/kali", "https://mirrors.tuna.tsinghua.edu.cn/kali", "https://mirrors.aliyun.com/kali"},
	"docker-ce":       {"https://mirrors.ustc.edu.cn/docker-ce", "https://mirrors.tuna.tsinghua.edu.cn/docker-ce", "https://mirrors.aliyun.com/docker-ce"},
	"alpine":          {"https://mirrors.ustc.edu.cn/alpine", "https://mirrors.tuna.tsinghua.edu.cn/alpine", "https://mirrors.aliyun.com/alpine"},
	"archlinux":       {"https://mirrors.ustc.edu.cn/archlinux", "https://mirrors.tuna.tsinghua.edu.cn/archlinux", "https://mirrors.aliyun.com/archlinux"},
	"archlinuxcn":     {"https://mirrors.ustc.edu.cn/archlinuxcn", "https://mirrors.tuna.tsinghua.edu.cn/archlinuxcn", "https://mirrors.aliyun.com/archlinuxcn"},
	"manjaro":         {"https://mirrors.ustc.edu.cn/manjaro", "https://mirrors.tuna.tsinghua.edu.cn/manjaro", "https://mirrors.aliyun.com/manjaro"},
	"almalinux":       {"https://mirrors.ustc.edu.cn/almalinux", "https://mirrors.tuna.tsinghua.edu.cn/almalinux", "https://mirrors.aliyun.com/almalinux"},
	"rocky":           {"https://mirrors.ustc.edu.cn/rocky", "https://mirrors.aliyun.com/rockylinux"},
	"centos":          {"https://mirrors.ustc.edu.cn/centos", "https://mirrors.tuna.tsinghua.edu.cn/centos", "https://mirrors.aliyun.com/centos"},
	"centos-stream":   {"https://mirrors.ustc.edu.cn/centos-stream", "https://mirrors.tuna.tsinghua.edu.cn/centos-stream", "https://mirrors.aliyun.com/centos-stream"},
	"centos-vault":    {"https://mirrors.ustc.edu.cn/centos-vault", "https://mirrors.tuna.tsinghua.edu.cn/centos-vault", "https://mirrors.aliyun.com/centos-vault"},
	"fedora":          {"https://mirrors.ustc.edu.cn/fedora", "https://mirrors.tuna.tsinghua.edu.cn/fedora", "https://mirrors.aliyun.com/fedora"},
	"epel":            {"https://mirrors.ustc.edu.cn/epel", "https://mirrors.tuna.tsinghua.edu.cn/epel", "https://mirrors.aliyun.com/epel"},

	"pypi":  {"https://mirrors.aliyun.com/pypi", "https://mirrors.ustc.edu.cn/pypi"},
	"npm":   {"https://registry.npmmirror.com"},
	"go":    {"https://goproxy.cn"},
	"maven": {"https://maven.aliyun.com/repository/public"},
	"cargo": {"https://mirrors.ustc.edu.cn/crates.io-index"},
	"oci":   {"https://docker.mirrors.ustc.edu.cn"},
}

// configOf is the text of a configuration.
func configOf(plans []*plan) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by cache-proxy init. What is not here has its default: config.yaml of the program\n# has every key. Clients: docs/clients.md, or ask the server for /-/.\n\nhubs:\n")
	for _, p := range plans {
		fmt.Fprintf(&b, "- name: %s\n  type: %s\n  # from %s\n  upstream:\n", p.name, p.kind, strings.Join(p.from, ", "))
		for _, u := range p.own {
			fmt.Fprintf(&b, "  - server: %s\n", strconv.Quote(u))
		}
		mark := "  "
		if p.unsure() {
			mark = "  # "
			b.WriteString("  # These are public mirrors. If the above has what they have and nothing else, uncomment them; if it\n" +
				"  # has packages of its own, they would be taken for the same: give each side a member (docs/members.md).\n")
		}
		for _, u := range p.others {
			fmt.Fprintf(&b, "%s- server: %s\n", mark, strconv.Quote(u))
		}
		switch p.kind {
		case "pypi", "npm", "cargo", "composer", "helm", "conda", "nuget", "pub", "terraform":
			b.WriteString("  options: {learn-files: true}\n")
		case "oci":
			b.WriteString("  options: {default: true, library: true}\n")
		}
	}
	return b.Bytes()
}

// A machine is what is below a folder.
type machine struct {
	root string
	say  func(format string, a ...any)
}

// files are those that patterns match, in order. ~ is the home of who asks, or of
// root on another machine.
func (m *machine) files(patterns ...string) []string {
	home := "/root"
	if m.root == "/" {
		if h, err := os.UserHomeDir(); err == nil {
			home = h
		}
	}
	var all []string
	for _, pattern := range patterns {
		if rest, ok := strings.CutPrefix(pattern, "~"); ok {
			pattern = home + rest
		}
		found, err := filepath.Glob(filepath.Join(m.root, pattern))
		if err == nil {
			all = append(all, found...)
		}
	}
	return all
}
