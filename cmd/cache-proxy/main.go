// Command cache-proxy is a caching proxy between many machines and the mirrors
// they install software from, and the tools of those who run it. Its first
// argument is a sub-command; serve is the default. A file of this package has one
// sub-command each.
//
// The exit status is 0 after a drain or when a command did what it was asked, 1 if
// that failed in part or as a whole, serving was cut short by a second signal, or
// damage was found, 2 if the command line or the configuration is wrong.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// version is set by the linker: -ldflags '-X main.version=v1.2.3'.
var version string

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// An invocation is one run of the command line.
type invocation struct {
	stdout, stderr io.Writer

	config, logLevel, sentry string
	version                  bool

	check, print bool // of serve
	debug        debugFlags
}

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	p := &invocation{stdout: stdout, stderr: stderr}
	root := p.command()
	root.SetArgs(spelled(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	status := exitFailed
	var stated *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &stated):
		status, err = stated.status, stated.err
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return status
}

// command is the program's command with all others below it.
func (p *invocation) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "cache-proxy",
		Short: "A caching proxy between many machines and the mirrors they install from",
		Long: `cache-proxy stands between many machines and the mirrors they install from.
Without a command it serves.

A flag beats the environment (CONFIG, LOG_LEVEL, SENTRY_DSN), which beats the file.
Flags may be written with one dash or two: -config is --config.

Exit status: 0 done; 1 failed, in part or as a whole, or damage was found;
2 the command line or the configuration is wrong.`,
		Example: `  cache-proxy                         ./config.yaml, or else public mirrors, on :8881 with ./data
  cache-proxy --config /etc/cache-proxy.yaml --log-level debug
  cache-proxy init                    write a config.yaml for what this machine installs from
  cache-proxy check --config new.yaml exit status 0 or 2
  cache-proxy mirrors                 who answers first, how fast, and who fails
  cache-proxy prefetch package-lock.json
  cache-proxy du                      what takes how much room`,
		Args:          none,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          p.runServe,
	}
	f := root.PersistentFlags()
	f.StringVar(&p.config, "config", os.Getenv("CONFIG"), "configuration `file`; default ./config.yaml if there is one (CONFIG)")
	f.StringVar(&p.logLevel, "log-level", os.Getenv("LOG_LEVEL"), "`level`: trace, debug, info, warn or error; default as configured, info (LOG_LEVEL)")
	f.StringVar(&p.sentry, "sentry", "", "sentry `DSN` to report errors to (SENTRY_DSN)") // no default: it would be shown
	f.BoolVar(&p.version, "version", false, "print the version")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if p.version {
			fmt.Fprintln(p.stdout, "cache-proxy", programVersion())
			return failed(exitOK, nil)
		}
		return nil
	}
	p.serveFlags(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misused(err) })
	root.AddCommand(p.serveCommand(), p.checkCommand(), p.mirrorsCommand(), p.lsCommand(), p.duCommand(), p.verifyCommand(), p.exportCommand(), p.importCommand(), p.prefetchCommand(), p.initCommand(), p.purgeCommand(), p.whyCommand(), p.topCommand(), p.manCommand())
	for _, c := range root.Commands() {
		state(c)
	}
	return root
}

// spelled is args with two dashes before the long names of flags: those of the
// original had one. Names of one letter have one dash, and cannot be joined.
func spelled(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" || i == 0 && strings.HasPrefix(a, cobra.ShellCompRequestCmd) {
			copy(out[i:], args[i:])
			return out
		}
		name, _, _ := strings.Cut(a, "=")
		if len(name) > 2 && name[0] == '-' && name[1] != '-' {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}

// exit is an error with a status of its own.
type exit struct {
	status int
	err    error // nil: all has been said
}

func (e *exit) Error() string { return fmt.Sprint(e.err) }

func (e *exit) Unwrap() error { return e.err }

// failed ends the program with a status; a nil err has been told already.
func failed(status int, err error) error { return &exit{status, err} }

// misused ends the program since its command line is wrong.
func misused(err error) error {
	return failed(exitUsage, fmt.Errorf("cache-proxy: %w; see cache-proxy -h", err))
}

// none is for commands without arguments.
func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misused(fmt.Errorf("unknown argument %q", args[0]))
	}
	return nil
}

// between is for commands with so many arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return misused(fmt.Errorf("%s wants more arguments: %s", c.Name(), c.UseLine()))
		case len(args) > most:
			return misused(fmt.Errorf("unknown argument %q", args[most]))
		}
		return nil
	}
}

// file is the one that the configuration is read from, if there is one.
func (p *invocation) file() string {
	if p.config == "" {
		return "config.yaml"
	}
	return p.config
}

// reload is load for a server that runs.
func (p *invocation) reload() (*cacheproxy.Config, []cacheproxy.Warning, error) {
	c, _, warnings, err := p.load()
	return c, warnings, err
}

// configured is load for commands that use the configuration alone.
func (p *invocation) configured() (*cacheproxy.Config, error) {
	c, _, _, err := p.load()
	if err != nil {
		return nil, failed(exitUsage, err)
	}
	return c, nil
}

// load finds and reads the configuration, and lays the command line over it.
// source says where it came from.
func (p *invocation) load() (c *cacheproxy.Config, source string, warnings []cacheproxy.Warning, err error) {
	source = p.file()
	c, warnings, err = cacheproxy.Load(source)
	if p.config == "" && errors.Is(err, fs.ErrNotExist) {
		source = "the embedded default"
		c, warnings, err = cacheproxy.LoadDefault()
	}
	if err != nil {
		return nil, source, warnings, err
	}
	if p.logLevel != "" {
		if c.Log.Level, err = cacheproxy.ParseLevel(p.logLevel); err != nil {
			return nil, source, warnings, fmt.Errorf("log level: %w", err)
		}
	}
	dsn := p.sentry
	if dsn == "" {
		dsn = os.Getenv("SENTRY_DSN")
	}
	if dsn != "" {
		c.Sentry.DSN = cacheproxy.NewSecret(dsn)
	}
	return c, source, warnings, nil
}

// writeJSON prints one value.
func (p *invocation) writeJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", " ")
	return e.Encode(v)
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
