package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) mirrorsCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "mirrors",
		Short: "Show how the mirrors of the server with this configuration fare",
		Long: `Shows the league of each hub's mirrors, the most winning first. It reads what the
server has written to its data directory, at most ten seconds ago.`,
		Example: `  cache-proxy mirrors                 who answers first, how fast, and who fails
  cache-proxy mirrors --json`,
		Args: none,
		RunE: func(*cobra.Command, []string) error { return p.mirrors(asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print all that is known, as JSON")
	c.AddCommand(p.benchCommand())
	return c
}

// mirrors prints the league.
func (p *invocation) mirrors(asJSON bool) error {
	c, err := p.configured()
	if err != nil {
		return err
	}
	all, err := cacheproxy.Standings(c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no server has run on %s yet", c.Storage.Local.Path)
	case err != nil:
		return err
	case asJSON:
		return p.writeJSON(all)
	}
	return printLeague(p.stdout, all)
}

func printLeague(stdout io.Writer, all []cacheproxy.Standing) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		name := s.Hub
		if s.Origin != "" {
			name += ", second host " + s.Origin
		}
		fmt.Fprintf(w, "hub %s: %d questions, %d requests to mirrors, %d because others were late, %d switches, %d in parts\n",
			name, s.Requests, s.Asked, s.Hedges, s.Switches, s.Stripes)
		fmt.Fprintln(w, "  mirror\twins\tasked\tfailed\tfirst byte\ta second\tbytes\tbehind\tbreaker\tlast error")
		slices.SortStableFunc(s.Mirrors, func(a, b cacheproxy.MirrorStats) int { return cmp.Compare(b.Wins, a.Wins) })
		for _, m := range s.Mirrors {
			share := "-"
			if s.Requests > 0 {
				share = fmt.Sprintf("%.0f%%", 100*float64(m.Wins)/float64(s.Requests))
			}
			first, rate, behind := "-", "-", "-"
			if m.Weight > 0 {
				first = m.First.Round(100 * time.Microsecond).String()
			}
			if m.Rated > 0 {
				rate = size(m.Rate)
			}
			if m.Lag != nil {
				behind = m.Lag.Behind.Round(time.Second).String()
			}
			fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%.80s\n",
				m.Mirror, share, m.Requests, m.Failed, first, rate, size(float64(m.Bytes)), behind, m.Breaker, m.Error)
		}
	}
	return w.Flush()
}

// size is a number of bytes for people.
func size(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 1024 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.3g TiB", n)
}
