package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A share is what lies below one prefix.
type share struct {
	Prefix  string `json:"prefix"` // HUB:/PATH/
	Bytes   int64  `json:"bytes"`
	Entries int64  `json:"entries"`
}

func (p *invocation) duCommand() *cobra.Command {
	depth, asJSON := 0, false
	c := &cobra.Command{
		Use:   "du [HUB|HUB:/PATH|URL]",
		Short: "Sum up what takes how much room",
		Long: `Sums up the content that is stored, by hub, or by folders of one, the largest first.
It reads the data directory, whether a server runs or not. Sizes are of content; what the
file system takes for it is a little more.

` + selection,
		Example: `  cache-proxy du
  cache-proxy du --depth 2 debian:/pool/`,
		Args:              between(0, 1),
		ValidArgsFunction: p.hubNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.look(func(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf) error {
				hub, prefix, err := selected(c, first(args))
				if err != nil {
					return err
				}
				if hub != "" && !cmd.Flags().Changed("depth") {
					depth = 1
				}
				return p.du(ctx, c, s, hub, prefix, depth, asJSON)
			})
		},
	}
	c.Flags().IntVar(&depth, "depth", 0, "folders below the hub, or below PATH, that are told apart; default 1 where a hub is named")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *invocation) du(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf, hub, prefix string, depth int, asJSON bool) error {
	sums, total := map[string]*share{}, share{Prefix: "total"}
	for e, err := range s.Entries(ctx, hub, prefix) {
		if err != nil {
			return err
		}
		at := e.Key.Hub + ":" + folder(e.Key.Path, prefix, depth)
		if sums[at] == nil {
			sums[at] = &share{Prefix: at}
		}
		for _, to := range []*share{sums[at], &total} {
			to.Bytes += e.Size
			to.Entries++
		}
	}
	if total.Entries == 0 {
		if err := nothing(c, hub); err != nil {
			return err
		}
	}
	all := []share{}
	for _, sum := range sums {
		all = append(all, *sum)
	}
	slices.SortFunc(all, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Prefix, b.Prefix))
	})
	if asJSON {
		return p.writeJSON(all)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, sum := range append(all, total) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", size(float64(sum.Bytes)), objects(sum.Entries), sum.Prefix)
	}
	return w.Flush()
}

// folder is the part of path that lies at most so many folders below the last
// folder of prefix.
func folder(path, prefix string, depth int) string {
	begin := strings.LastIndexByte(prefix, '/') + 1
	if begin == 0 {
		begin = 1
	}
	path, _, _ = strings.Cut(path, "?")
	begin = min(begin, len(path))
	for range depth {
		i := strings.IndexByte(path[begin:], '/')
		if i < 0 {
			break
		}
		begin += i + 1
	}
	return path[:begin]
}
