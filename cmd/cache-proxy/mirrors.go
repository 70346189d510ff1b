package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"text/tabwriter"
	"time"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// mirrors prints the league of each hub's mirrors, the most winning first. It
// reads what the server has written to its data directory, at most seconds ago.
func mirrors(c *cacheproxy.Config, asJSON bool, stdout, stderr io.Writer) int {
	all, err := cacheproxy.Standings(c)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stderr, "no server has run on %s yet\n", c.Storage.Local.Path)
		return exitFailed
	}
	if err == nil && asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", " ")
		err = e.Encode(all)
	} else if err == nil {
		err = printLeague(stdout, all)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitOK
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
