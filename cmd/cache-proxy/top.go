package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A glance is what a server does at a moment.
type glance struct {
	At      time.Time             `json:"at"`
	Status  cacheproxy.Status     `json:"status"`
	Flights []cacheproxy.Flight   `json:"flights"`
	Mirrors []cacheproxy.Standing `json:"mirrors"`
}

func (p *invocation) topCommand() *cobra.Command {
	admin, every, once, asJSON := "", time.Second, false, false
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch what the running server does",
		Long: `Shows, again and again: the store, what each hub has answered and how much a second, the
transfers under way, and the mirrors that bring most. It asks the admin listener. Where the
output is no terminal it is shown once. Control-C ends it.`,
		Example: `  cache-proxy top
  cache-proxy top --json | jq '.flights | length'`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			c, err := p.configured()
			if err != nil {
				return err
			}
			if every < 100*time.Millisecond {
				return misused(fmt.Errorf("--every %v is too often", every))
			}
			o, err := newOperator(c, admin)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			if asJSON {
				g, err := o.glance(ctx)
				if err != nil {
					return err
				}
				return p.writeJSON(g)
			}
			return p.top(ctx, o, every, once || !isTerminal(p.stdout))
		},
	}
	adminFlag(c, &admin)
	c.Flags().DurationVar(&every, "every", time.Second, "how often")
	c.Flags().BoolVar(&once, "once", false, "show it once")
	c.Flags().BoolVar(&asJSON, "json", false, "print all of it once, as JSON")
	return c
}

func (o *operator) glance(ctx context.Context) (*glance, error) {
	g := &glance{At: time.Now()}
	for path, to := range map[string]any{"status": &g.Status, "flights": &g.Flights, "mirrors": &g.Mirrors} {
		if err := o.ask(ctx, http.MethodGet, "/api/v1/"+path, nil, to); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (p *invocation) top(ctx context.Context, o *operator, every time.Duration, once bool) error {
	var before *glance
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		g, err := o.glance(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var screen bytes.Buffer
		rows := 1 << 20
		if !once {
			screen.WriteString("\x1b[H\x1b[2J") // to the top of an empty screen
			if f, ok := p.stdout.(*os.File); ok {
				if _, height, err := term.GetSize(int(f.Fd())); err == nil {
					rows = height
				}
			}
		}
		if err := g.print(&screen, before, rows); err != nil {
			return err
		}
		if _, err := p.stdout.Write(screen.Bytes()); err != nil || once {
			return err
		}
		before = g
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// print shows g on so many rows; rates are those since the glance before, if there was one.
func (g *glance) print(to io.Writer, before *glance, rows int) error {
	st := &g.Status
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "cache-proxy %s, up %v, configuration %d, %d transfers under way\n", st.Version, g.At.Sub(st.Started).Round(time.Second), st.Revision, len(g.Flights))
	fmt.Fprintf(w, "store %s of %s in %d entries, %s free, %d evicted, %d damaged\n\n", size(float64(st.Store.Bytes)), bound(st.Store.MaxSize), st.Store.Entries, size(float64(st.Store.Free)), st.Store.Evictions, st.Store.Damaged)
	fmt.Fprintln(w, "hub\tanswers\ta second\thits\tsent\ta second\tsaved")
	left := rows - 5
	for _, h := range st.Hubs {
		answers, sent := total(h.Requests), total(h.Sent)
		rate, bytes := "-", "-"
		if since := before.hub(h.Name); since != nil {
			d := g.At.Sub(before.At).Seconds()
			rate = fmt.Sprintf("%.0f", float64(answers-total(since.Requests))/d)
			bytes = size(float64(sent-total(since.Sent)) / d)
		}
		hits := "-"
		if answers > 0 {
			hits = fmt.Sprintf("%.0f%%", 100*float64(h.Requests["hit"])/float64(answers))
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", h.Name, answers, rate, hits, size(float64(sent)), bytes, size(float64(h.Saved)))
		left--
	}
	if len(g.Flights) > 0 && left > 3 {
		fmt.Fprintln(w, "\nunder way\tof\ta second\tclients\tmirror\twhat")
		left -= 2
		slices.SortFunc(g.Flights, func(a, b cacheproxy.Flight) int { return cmp.Compare(b.Rate, a.Rate) })
		for _, f := range g.Flights[:min(len(g.Flights), max(left-4, 3))] {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s:%s\n", size(float64(f.Bytes)), known(f.Total), size(float64(f.Rate)), f.Clients, orNone(f.Mirror), f.Hub, f.Path)
			left--
		}
	}
	if left > 3 {
		fmt.Fprintln(w, "\nmirror\twins\tasked\tfailed\tbytes\tbreaker\thub")
		g.printMirrors(w, left-2)
	}
	return w.Flush()
}

// printMirrors shows those that have brought most.
func (g *glance) printMirrors(w io.Writer, rows int) {
	type row struct {
		hub string
		cacheproxy.MirrorStats
	}
	var all []row
	for _, s := range g.Mirrors {
		for _, m := range s.Mirrors {
			all = append(all, row{s.Hub, m})
		}
	}
	slices.SortStableFunc(all, func(a, b row) int { return cmp.Compare(b.Bytes, a.Bytes) })
	for _, m := range all[:min(len(all), rows)] {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", m.Mirror, m.Wins, m.Requests, m.Failed, size(float64(m.Bytes)), m.Breaker, m.hub)
	}
}

// hub is what a hub had counted; nil if there is nothing to compare with.
func (g *glance) hub(name string) *cacheproxy.HubStatus {
	if g == nil {
		return nil
	}
	for i := range g.Status.Hubs {
		if g.Status.Hubs[i].Name == name {
			return &g.Status.Hubs[i]
		}
	}
	return nil
}

func total(counts map[string]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func bound(n int64) string {
	if n == 0 {
		return "any size"
	}
	return size(float64(n))
}

func known(n int64) string {
	if n < 0 {
		return "?"
	}
	return size(float64(n))
}
