// Command cache-proxy is a caching proxy between many machines and the mirrors
// they install software from. Its first argument is a sub-command: serve, which
// is the default, or check.
//
// The exit status is 0 after a drain, 1 if serving failed or was cut short by a
// second signal, 2 if the command line or the configuration is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// version is set by the linker: -ldflags '-X main.version=v1.2.3'.
var version string

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `cache-proxy stands between many machines and the mirrors they install from.

Usage:
  cache-proxy [serve] [flags]         serve until SIGTERM, then drain; SIGHUP reads the configuration again
  cache-proxy check [-print] [flags]  validate the configuration and say what it does
  cache-proxy mirrors [-json] [flags] how the mirrors of the server with this configuration fare
  cache-proxy mirrors bench [-hub NAME] [-size 4MiB] [-json] [flags] [PATH...]
                                      measure them now: time to first byte, bytes a second

Examples:
  cache-proxy                         ./config.yaml, or else public mirrors, on :8881 with ./data
  cache-proxy -config /etc/cache-proxy.yaml -log-level debug
  cache-proxy check -config new.yaml  exit status 0 or 2
  cache-proxy check -print            the configuration in effect
  cache-proxy mirrors                 who answers first, how fast, and who fails
  cache-proxy mirrors bench /debian/dists/stable/Release

A flag beats the environment (CONFIG, LOG_LEVEL, SENTRY_DSN), which beats the file.

Flags:
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are what the command line says.
type options struct {
	config, logLevel, sentry string
	check, print, version    bool
	json                     bool
	bench                    cacheproxy.Bench
	debug                    debugFlags
}

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 && (args[0] == "serve" || args[0] == "check" || args[0] == "mirrors") {
		command, args = args[0], args[1:]
	}
	if command == "mirrors" && len(args) > 0 && args[0] == "bench" {
		command, args = "bench", args[1:]
	}
	o, status := parse(command, args, stdout, stderr)
	if o == nil {
		return status
	}
	if o.version {
		fmt.Fprintln(stdout, "cache-proxy", programVersion())
		return exitOK
	}
	c, source, warnings, err := o.load()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if o.check || o.print {
		for _, w := range warnings {
			fmt.Fprintln(stderr, w)
		}
		return check(c, source, o.print, stdout, stderr)
	}
	switch command {
	case "mirrors":
		return mirrors(c, o.json, stdout, stderr)
	case "bench":
		return bench(c, o.bench, o.json, stdout, stderr)
	}
	return serve(c, source, warnings, o, stderr)
}

// parse reads the flags; without options the exit status counts.
func parse(command string, args []string, stdout, stderr io.Writer) (*options, int) {
	o := &options{check: command == "check"}
	f := flag.NewFlagSet("cache-proxy", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", os.Getenv("CONFIG"), "configuration `file`; default ./config.yaml if there is one (CONFIG)")
	f.StringVar(&o.logLevel, "log-level", os.Getenv("LOG_LEVEL"), "`level`: trace, debug, info, warn or error; default as configured, info (LOG_LEVEL)")
	f.StringVar(&o.sentry, "sentry", "", "sentry `DSN` to report errors to (SENTRY_DSN)") // no default: it would be shown
	f.BoolVar(&o.version, "version", false, "print the version")
	if command == "mirrors" || command == "bench" {
		f.BoolVar(&o.json, "json", false, "print all that is known, as JSON")
		if command == "bench" {
			o.benchFlags(f)
		}
	} else if o.check {
		f.BoolVar(&o.print, "print", false, "print the configuration in effect, secrets masked")
	} else {
		f.BoolVar(&o.check, "check-config", false, "the same as check")
		f.BoolVar(&o.print, "print-config", false, "the same as check -print")
		o.debug.register(f)
	}
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return nil, exitOK
	case err == nil && command == "bench":
		o.bench.Paths = f.Args()
	case err == nil && f.NArg() > 0:
		err = fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "cache-proxy: %v; see cache-proxy -h\n", err)
		return nil, exitUsage
	}
	if o.sentry == "" {
		o.sentry = os.Getenv("SENTRY_DSN")
	}
	return o, exitOK
}

// file is the one that the configuration is read from, if there is one.
func (o *options) file() string {
	if o.config == "" {
		return "config.yaml"
	}
	return o.config
}

// reload is load for a server that runs.
func (o *options) reload() (*cacheproxy.Config, []cacheproxy.Warning, error) {
	c, _, warnings, err := o.load()
	return c, warnings, err
}

// load finds and reads the configuration, and lays the command line over it.
// source says where it came from.
func (o *options) load() (c *cacheproxy.Config, source string, warnings []cacheproxy.Warning, err error) {
	source = o.file()
	c, warnings, err = cacheproxy.Load(source)
	if o.config == "" && errors.Is(err, fs.ErrNotExist) {
		c, source, err = cacheproxy.Default(), "the embedded default", nil
	}
	if err != nil {
		return nil, source, warnings, err
	}
	if o.logLevel != "" {
		if c.Log.Level, err = cacheproxy.ParseLevel(o.logLevel); err != nil {
			return nil, source, warnings, fmt.Errorf("log level: %w", err)
		}
	}
	if o.sentry != "" {
		c.Sentry.DSN = cacheproxy.NewSecret(o.sentry)
	}
	return c, source, warnings, nil
}

// serve runs the server until a signal ends it.
func serve(c *cacheproxy.Config, source string, warnings []cacheproxy.Warning, o *options, stderr io.Writer) int {
	logger, err := c.NewLogger(stderr, programVersion())
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	defer logger.Close()
	log := logger.Logger
	slog.SetDefault(log)
	log.Info("configuration loaded", "source", source, "version", programVersion())
	for _, w := range warnings {
		log.Warn(w.String())
	}
	ctx, stop := untilSignal(log)
	defer stop()
	hangups := make(chan os.Signal, 1) // from now on, since a SIGHUP would else end the process
	signal.Notify(hangups, syscall.SIGHUP)
	s, err := cacheproxy.New(c, cacheproxy.Options{
		Log: log, Level: logger.Level, Version: programVersion(), Debug: o.debug.handler(),
		File: o.file(), Load: o.reload, Prepare: logger.Prepare,
	})
	if err != nil {
		log.Error("failed to start server", "err", err)
		return exitFailed
	}
	defer onHangup(hangups, func() { s.Refresh("SIGHUP") })()
	if err := s.Run(ctx); err != nil {
		message := "server failed"
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "listen" {
			message = "failed to start server"
		}
		log.Error(message, "err", err)
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}

// untilSignal is a context that ends with SIGINT or SIGTERM; a second one ends
// the process at once. stop gives the signals back.
func untilSignal(log *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-signals:
				switch {
				case ctx.Err() == nil:
					log.Info("stopping", "signal", sig.String())
					cancel()
				default:
					log.Warn("stopped by a second signal", "signal", sig.String())
					os.Exit(exitFailed)
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// onHangup calls refresh for what comes from hangups, one call at a time, until
// stop is called, which waits for the last.
func onHangup(hangups chan os.Signal, refresh func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				refresh()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
