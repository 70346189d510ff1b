package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

func (o *options) benchFlags(f *flag.FlagSet) {
	f.StringVar(&o.bench.Hub, "hub", "", "`name` of the hub; default every hub")
	f.Func("size", "`bytes` of each path, at most; default 4MiB", func(s string) error {
		size, err := cacheproxy.ParseSize(s)
		o.bench.Size = int64(size)
		return err
	})
}

// bench measures mirrors and prints what they did. On a terminal a bar shows how
// far it is and a table follows; elsewhere each result is a line as it comes.
func bench(c *cacheproxy.Config, b cacheproxy.Bench, asJSON bool, stdout, stderr io.Writer) int {
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
		fmt.Fprintln(stderr, err)
		return exitFailed
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
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitOK
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
