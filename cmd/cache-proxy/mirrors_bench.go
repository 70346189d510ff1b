package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (p *invocation) benchCommand() *cobra.Command {
	var b cacheproxy.Bench
	asJSON, most := false, ""
	c := &cobra.Command{
		Use:   "bench [PATH...]",
		Short: "Measure mirrors now: time to first byte, bytes a second",
		Long: `Asks every mirror for each PATH below the hub's mount, one after another, over a
connection of its own. Without PATH it asks for what mirrors were last found to have.`,
		Example: `  cache-proxy mirrors bench /debian/dists/stable/Release
  cache-proxy mirrors bench --hub npm --size 512KiB --json`,
		RunE: func(_ *cobra.Command, args []string) error {
			size, err := cacheproxy.ParseSize(most)
			if err != nil {
				return misused(fmt.Errorf("--size: %w", err))
			}
			b.Size, b.Paths = int64(size), args
			c, err := p.configured()
			if err != nil {
				return err
			}
			return bench(c, b, asJSON, p.stdout, p.stderr)
		},
	}
	f := c.Flags()
	f.StringVar(&b.Hub, "hub", "", "`name` of the hub; default every hub")
	f.StringVar(&most, "size", "4MiB", "`bytes` of each path, at most")
	f.BoolVar(&asJSON, "json", false, "print all that is known, as JSON")
	return c
}

// bench measures mirrors and prints what they did. On a terminal a bar shows how
// far it is and a table follows; elsewhere each result is a line as it comes.
func bench(c *cacheproxy.Config, b cacheproxy.Bench, asJSON bool, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all := []cacheproxy.Measured{}
	var bar *progressbar.ProgressBar
	live := !asJSON && !isTerminal(stderr)
	b.Started = func(bytes int64) {
		if isTerminal(stderr) {
			bar = progressbar.NewOptions64(bytes, progressbar.OptionSetWriter(stderr), progressbar.OptionShowBytes(true),
				progressbar.OptionSetDescription("measuring"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
	}
	b.Read = func(n int) {
		if bar != nil {
			bar.Add(n)
		}
	}
	b.Done = func(m cacheproxy.Measured) {
		all = append(all, m)
		if live {
			printMeasured(stdout, m, " ")
		}
	}
	err := cacheproxy.MeasureMirrors(ctx, c, cacheproxy.Options{Version: programVersion()}, b)
	if bar != nil {
		bar.Finish()
	}
	switch {
	case err != nil:
	case asJSON:
		e := json.NewEncoder(stdout)
		e.SetIndent("", " ")
		err = e.Encode(all)
	case !live:
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, m := range all {
			printMeasured(w, m, "\t")
		}
		err = w.Flush()
	}
	if err == nil && !slices.ContainsFunc(all, func(m cacheproxy.Measured) bool { return m.Error == "" }) {
		return failed(exitFailed, nil) // each has said why
	}
	return err
}

// printMeasured is one line.
func printMeasured(to io.Writer, m cacheproxy.Measured, between string) {
	what := m.Error
	if what == "" {
		rate := "-"
		if m.Rate > 0 {
			rate = size(m.Rate) + "/s"
		}
		what = fmt.Sprintf("connect %v%sfirst byte %v%s%s", round(m.Connect), between, round(m.First), between, rate)
	}
	fmt.Fprintln(to, m.Hub+between+m.Mirror+between+m.Path+between+what)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
