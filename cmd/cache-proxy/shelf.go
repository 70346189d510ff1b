package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// selection is what its arguments say about commands on the store.
const selection = `What is meant is a hub (npm), a hub and the beginning of paths (npm:/left-pad), or what
a client asks for (/npm/left-pad, http://cache.lan:8881/npm/left-pad).`

// selected is the hub and the prefix of paths that an argument means.
func selected(c *cacheproxy.Config, arg string) (hub, prefix string, err error) {
	if arg == "" {
		return "", "", nil
	}
	if strings.HasPrefix(arg, "/") || strings.Contains(arg, "://") {
		h, below, err := locate(c, arg)
		if err != nil {
			return "", "", err
		}
		return h.Name, below, nil
	}
	hub, prefix, _ = strings.Cut(arg, ":")
	if strings.Contains(hub, "/") || prefix != "" && !strings.HasPrefix(prefix, "/") {
		return "", "", misused(fmt.Errorf("%q is neither HUB, HUB:/PATH nor a URL", arg))
	}
	return hub, prefix, nil
}

// pointed is selected for one object: a URL is read as its hub reads it, where it can.
func pointed(c *cacheproxy.Config, arg string) (hub, path string, err error) {
	if u, err := url.Parse(arg); err == nil && (strings.HasPrefix(arg, "/") || u.Host != "") {
		if m, err := c.Meaning(u); err == nil {
			return m.Hub.Name, m.Path, nil
		}
	}
	return selected(c, arg)
}

// nothing is for commands that have found nothing of a hub: if the configuration
// has none of that name, the name is a mistake.
func nothing(c *cacheproxy.Config, hub string) error {
	if hub == "" || slices.ContainsFunc(c.Served(), func(h cacheproxy.Hub) bool { return h.Name == hub }) {
		return nil
	}
	return misused(fmt.Errorf("nothing is stored of a hub %q, and the configuration has none", hub))
}

func locate(c *cacheproxy.Config, arg string) (*cacheproxy.Hub, string, error) {
	u, err := url.Parse(arg)
	if err != nil {
		return nil, "", misused(err)
	}
	return c.Locate(u)
}

// look opens the store for reading, for f.
func (p *invocation) look(f func(context.Context, *cacheproxy.Config, *cacheproxy.Shelf) error) error {
	return p.shelf(func(c *cacheproxy.Config) (*cacheproxy.Shelf, error) {
		s, err := cacheproxy.LookAtShelf(c)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no server has run on %s yet", c.Storage.Local.Path)
		}
		return s, err
	}, f)
}

// hold opens the store for changes, for f. It fails where a server runs.
func (p *invocation) hold(f func(context.Context, *cacheproxy.Config, *cacheproxy.Shelf) error) error {
	return p.shelf(func(c *cacheproxy.Config) (*cacheproxy.Shelf, error) {
		return cacheproxy.HoldShelf(c, cacheproxy.Options{Version: programVersion()})
	}, f)
}

func (p *invocation) shelf(open func(*cacheproxy.Config) (*cacheproxy.Shelf, error), f func(context.Context, *cacheproxy.Config, *cacheproxy.Shelf) error) (err error) {
	c, err := p.configured()
	if err != nil {
		return err
	}
	s, err := open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return f(ctx, c, s)
}

// bar shows on a terminal how far something is; nil elsewhere, where it does nothing.
type bar struct{ *progressbar.ProgressBar }

// newBar is a bar of so many steps, or bytes; -1: nobody knows how many.
func (p *invocation) newBar(total int64, what string, bytes bool) bar {
	if !isTerminal(p.stderr) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.stderr), progressbar.OptionShowBytes(bytes), progressbar.OptionShowCount(),
		progressbar.OptionSetDescription(what), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())}
}

func (b bar) add(n int64) {
	if b.ProgressBar != nil {
		b.Add64(n)
	}
}

func (b bar) finish() {
	if b.ProgressBar != nil {
		b.Finish()
	}
}

// hubNames completes the name of a hub.
func (p *invocation) hubNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := p.configured()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, h := range c.Served() {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// first is the first argument; "" if there is none.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
