package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) importCommand() *cobra.Command {
	to, asJSON := []string(nil), false
	c := &cobra.Command{
		Use:   "import FILE|FOLDER [HUB|HUB:/PATH|/PATH]",
		Short: "Take over a bundle, a tree of a mirror, or an apt-cacher-ng cache",
		Long: `Takes over a bundle that export has written (FILE - is the standard input), or a folder.
No server may run on the data directory meanwhile. What the store has as new stays.

A bundle knows the hubs of its content. Each digest is proved; the import ends at the
first thing that is wrong, and what came before stays.

A folder is the tree of a mirror, whose files are taken over below HUB:/PATH. If it is an
apt-cacher-ng cache (it has NAME/…/FILE.head beside each FILE), its folders are hosts and
repositories: those of hosts go to the hub that has the host among its upstreams, debrep and
uburep to /debian and /ubuntu, and --to says where others go. Files that are not whole, by
their .head, are left out.

Hubs take files as they lie there only where paths are paths of files: of the types files,
apt, rpm, apk, pacman and maven. For all others there is prefetch.`,
		Example: `  cache-proxy import march.tar
  cache-proxy import /srv/mirror/debian debian
  cache-proxy import --to local=/internal /var/cache/apt-cacher-ng`,
		Args: between(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			return p.hold(func(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf) error {
				done, err := p.importFrom(ctx, c, s, args[0], first(args[1:]), to)
				if asJSON {
					return errors.Join(err, p.writeJSON(done))
				}
				fmt.Fprintf(p.stderr, "%v; %d left as they were\n", done, done.Skipped)
				return err
			})
		},
	}
	c.Flags().StringArrayVar(&to, "to", nil, "of an apt-cacher-ng cache: `FOLDER=/PATH` (or =HUB:/PATH), where the content of a folder goes")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was taken over as JSON")
	return c
}

func (p *invocation) importFrom(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf, from, below string, to []string) (tally, error) {
	if from == "-" {
		return p.importStream(ctx, s, os.Stdin, -1)
	}
	info, err := os.Stat(from)
	if err != nil {
		return tally{}, err
	}
	if info.IsDir() {
		return p.importTree(ctx, c, s, from, below, to)
	}
	if below != "" || len(to) > 0 {
		return tally{}, misused(errors.New("a bundle knows where its content belongs"))
	}
	f, err := os.Open(from)
	if err != nil {
		return tally{}, err
	}
	defer f.Close()
	return p.importStream(ctx, s, f, info.Size())
}

func (p *invocation) importStream(ctx context.Context, s *cacheproxy.Shelf, from io.Reader, n int64) (tally, error) {
	bar := p.newBar(n, "importing", true)
	defer bar.finish()
	return importBundle(ctx, s, from, bar)
}
