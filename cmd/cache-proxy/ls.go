package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) lsCommand() *cobra.Command {
	long, asJSON := false, false
	c := &cobra.Command{
		Use:   "ls [HUB|HUB:/PATH|URL]",
		Short: "List what is stored",
		Long: `Lists what is stored, by key: size, when a mirror last sent or confirmed it, HUB:PATH.
It reads the data directory, whether a server runs or not.

` + selection,
		Example: `  cache-proxy ls npm
  cache-proxy ls --long debian:/pool/main/h/
  cache-proxy ls --json | jq -r 'select(.status != 200).key.path'`,
		Args:              between(0, 1),
		ValidArgsFunction: p.hubNames,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.look(func(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf) error {
				hub, prefix, err := selected(c, first(args))
				if err != nil {
					return err
				}
				list := p.ls
				if asJSON {
					list = p.lsJSON
				}
				n, err := list(ctx, s, hub, prefix, long)
				if err == nil && n == 0 {
					err = nothing(c, hub)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&long, "long", false, "digest, mirror and validators too")
	c.Flags().BoolVar(&asJSON, "json", false, "print each entry as a line of JSON, in no order")
	return c
}

func (p *invocation) lsJSON(ctx context.Context, s *cacheproxy.Shelf, hub, prefix string, _ bool) (n int, err error) {
	out := json.NewEncoder(p.stdout)
	for e, err := range s.Entries(ctx, hub, prefix) {
		if err != nil {
			return n, err
		}
		if err := out.Encode(e); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (p *invocation) ls(ctx context.Context, s *cacheproxy.Shelf, hub, prefix string, long bool) (n int, err error) {
	var all []*cacheproxy.Entry
	for e, err := range s.Entries(ctx, hub, prefix) {
		if err != nil {
			return 0, err
		}
		if !long { // there may be millions
			e = &cacheproxy.Entry{Key: e.Key, Size: e.Size, Received: e.Received, Status: e.Status}
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *cacheproxy.Entry) int {
		return cmp.Or(cmp.Compare(a.Key.Hub, b.Key.Hub), cmp.Compare(a.Key.Path, b.Key.Path), cmp.Compare(a.Key.Variant, b.Key.Variant))
	})
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%s\t%v", size(float64(e.Size)), e.Received.Local().Format(time.DateTime), e.Key)
		if long {
			fmt.Fprintf(w, "\t%d\t%s\t%s\t%s\t%s", e.Status, orNone(string(e.Digest)), orNone(e.Mirror), orNone(e.Header.Get("Etag")), orNone(e.Header.Get("Last-Modified")))
		}
		fmt.Fprintln(w)
	}
	return len(all), w.Flush()
}

func orNone(s string) string { return cmp.Or(s, "-") }
