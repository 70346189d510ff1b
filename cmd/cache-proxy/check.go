package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) checkCommand() *cobra.Command {
	print := false
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and say what it does",
		Example: `  cache-proxy check --config new.yaml  before it is put in force
  cache-proxy check --print            the configuration in effect, secrets masked`,
		Args: none,
		RunE: func(*cobra.Command, []string) error { return p.runCheck(print) },
	}
	c.Flags().BoolVar(&print, "print", false, "print the configuration in effect, secrets masked")
	return c
}

// runCheck shows the configuration: what it does, or itself.
func (p *invocation) runCheck(print bool) error {
	c, source, warnings, err := p.load()
	if err != nil {
		return failed(exitUsage, err)
	}
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, w)
	}
	if print {
		return c.WriteYAML(p.stdout)
	}
	return describe(c, source, p.stdout)
}

// describe says on one screen what each hub does.
func describe(c *cacheproxy.Config, source string, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: ok\n\n", source)
	for _, a := range c.Addresses() {
		how := ""
		if a.TLS {
			how = ", TLS"
		}
		fmt.Fprintf(w, "listen on %v%s\n", a.Address, how)
	}
	if c.Forward.Enabled {
		describeForward(w, &c.Forward)
	}
	describeAdmin(w, &c.Admin)
	if c.StatusFile.Path != "" {
		fmt.Fprintf(w, "statuses to %s every %v\n", c.StatusFile.Path, c.StatusFile.Every)
	}
	if c.PublicURL.IsSet() {
		fmt.Fprintf(w, "links begin with %v\n", c.PublicURL)
	}
	if len(c.TrustedProxies) > 0 {
		fmt.Fprintf(w, "forwarded fields are believed from %v\n", c.TrustedProxies)
	}
	for _, h := range c.Served() {
		describeHub(w, c, &h)
	}
	l := c.Storage.Local
	fmt.Fprintf(w, "\nstorage %s in %s: at most %v, %v left free, %s\n", c.Storage.Type, l.Path, l.MaxSize, l.MinFree, l.Durability)
	if l.Accel.EnableByHeader != "" {
		fmt.Fprintf(w, "  %s from %v is answered with %v\n", l.Accel.EnableByHeader, l.Accel.Trusted, l.Accel.RespondWithHeaders)
	}
	return w.Flush()
}

func describeForward(w io.Writer, f *cacheproxy.Forward) {
	to := "CONNECT is refused"
	if len(f.Connect) > 0 {
		all := make([]string, len(f.Connect))
		for i, e := range f.Connect {
			all[i] = e.String()
		}
		to = "CONNECT to " + strings.Join(all, ", ")
	}
	fmt.Fprintf(w, "forward: an http_proxy for URLs below the upstreams; %s\n", to)
}

func describeAdmin(w io.Writer, a *cacheproxy.Admin) {
	switch {
	case !a.Listen.IsSet():
		fmt.Fprintln(w, "no admin listener")
	case a.Token.IsSet():
		fmt.Fprintf(w, "admin on %v, with a token\n", a.Listen)
	default:
		fmt.Fprintf(w, "admin on %v\n", a.Listen)
	}
}

func describeHub(w io.Writer, c *cacheproxy.Config, h *cacheproxy.Hub) {
	at := strings.Join(append([]string{h.Path}, h.Hosts...), " and ")
	fmt.Fprintf(w, "\nhub %s at %s, %d upstreams, race.mode %s, type %s, rollout %s\n", h.Name, at, len(h.Upstream), h.Race.Mode, h.Type, h.Rollout)
	if c.Made("hubs", h.Name) {
		fmt.Fprintln(w, "  made by a request to the admin listener")
	}
	if c.Offline || h.Offline {
		fmt.Fprintln(w, "  offline: only what is stored is served")
	}
	if len(h.Flow) > 0 {
		fmt.Fprintf(w, "  flow: %s\n", describeFlow(c, h.Flow))
	}
	describeMembers(w, h)
	for i, u := range h.Upstream {
		mapping := "every path, unchanged"
		if u.Path.Match.IsSet() && u.Path.Replace != "" {
			mapping = short(u.Path.Match.String()) + " to " + u.Path.Replace
		}
		if u.Member != "" {
			mapping += "; member " + u.Member
		}
		fmt.Fprintf(w, "  %d\t%v\t%s\n", i, u.Server, mapping)
	}
	for _, alias := range slices.Sorted(maps.Keys(h.Options.Files)) {
		fmt.Fprintf(w, "  /_f/%s/\t%v\tsecond host\n", alias, h.Options.Files[alias])
	}
	fmt.Fprintf(w, "\n%d policies, first match wins\n", len(h.Cache.Policies))
	for _, p := range h.Cache.Policies {
		fmt.Fprintf(w, "  %v\t%s\n", p.RefreshAfter, short(p.Match.String()))
	}
	if h.Module() == cacheproxy.HubFiles {
		fmt.Fprintf(w, "  %v\teverything else\n", h.Cache.Timeout)
		return
	}
	fmt.Fprintf(w, "  as the type %s says\teverything else\n", h.Module())
}

// describeMembers says who is asked for what, where upstreams have different content.
func describeMembers(w io.Writer, h *cacheproxy.Hub) {
	for i, m := range h.Members() {
		when := "then"
		if i == 0 {
			when = "first"
		}
		fmt.Fprintf(w, "  %s member %s", when, m.Name)
		for _, names := range []struct {
			what string
			all  []string
		}{{"private", m.Private}, {"shared", m.Shared}, {"second hosts", m.Second}} {
			if len(names.all) > 0 {
				fmt.Fprintf(w, "; %s %s", names.what, strings.Join(names.all, ", "))
			}
		}
		fmt.Fprintln(w)
	}
}

// describeFlow is the steps of a flow, with the kinds of filters and the jumps.
func describeFlow(c *cacheproxy.Config, flow []cacheproxy.Step) string {
	kinds := map[string]string{"cache": "cache"}
	for _, f := range c.Filters {
		kinds[f.Name] = f.Name + " (" + f.Kind + ")"
	}
	steps := make([]string, len(flow))
	for i, s := range flow {
		steps[i] = kinds[s.Filter]
		for _, result := range slices.Sorted(maps.Keys(s.JumpIf)) {
			steps[i] += " " + result + "→" + s.JumpIf[result]
		}
	}
	return strings.Join(steps, ", ")
}

// short is s, cut to what a line can hold.
func short(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
