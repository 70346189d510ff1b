package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// serveCommand is what the program does without a sub-command, too.
func (p *invocation) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve until SIGTERM, then drain; SIGHUP reads the configuration again, SIGUSR2 starts a new program",
		Example: `  cache-proxy                         ./config.yaml, or else public mirrors, on :8881 with ./data
  cache-proxy --config /etc/cache-proxy.yaml --log-level debug`,
		Args: none,
		RunE: p.runServe,
	}
	p.serveFlags(c)
	return c
}

func (p *invocation) serveFlags(c *cobra.Command) {
	c.Flags().BoolVar(&p.check, "check-config", false, "the same as check")
	c.Flags().BoolVar(&p.print, "print-config", false, "the same as check --print")
	p.debug.register(c)
}

func (p *invocation) runServe(*cobra.Command, []string) error {
	if p.check || p.print {
		return p.runCheck(p.print)
	}
	c, source, warnings, err := p.load()
	if err != nil {
		return failed(exitUsage, err)
	}
	return failed(p.serve(c, source, warnings), nil)
}

// serve runs the server until a signal ends it.
func (p *invocation) serve(c *cacheproxy.Config, source string, warnings []cacheproxy.Warning) int {
	stderr := p.stderr
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
	hangups, upgrades := make(chan os.Signal, 1), make(chan os.Signal, 1) // from now on, since they would else end the process
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(upgrades, syscall.SIGUSR2)
	before, err := cacheproxy.FindPredecessor()
	if err != nil {
		log.Error("failed to start server", "err", err)
		return exitFailed
	}
	s, err := cacheproxy.New(c, cacheproxy.Options{
		Log: log, Lines: logger, Level: logger.Level, Version: programVersion(), Debug: p.debug.handler(),
		File: p.file(), Load: p.reload, Prepare: logger.Prepare, Predecessor: before,
	})
	if err != nil {
		log.Error("failed to start server", "err", err)
		return exitFailed
	}
	defer onSignal(hangups, func() { s.Refresh("SIGHUP") })()
	defer onSignal(upgrades, func() { upgrade(ctx, s, log) })()
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

// upgrade replaces the process by one of the program that is installed under its
// name now, with the same arguments.
func upgrade(ctx context.Context, s *cacheproxy.Server, log *slog.Logger) {
	program, err := exec.LookPath(os.Args[0]) // with links as they are now
	if err != nil {
		program, err = os.Executable()
	}
	if err == nil {
		log.Info("starting the program anew", "cause", "SIGUSR2", "program", program)
		err = s.Upgrade(ctx, program, os.Args[1:]...)
	}
	if err != nil {
		log.Error("no other process has taken over; this one goes on", "err", err)
	}
}

// onSignal calls act for what comes from signals, one call at a time, until stop is
// called, which waits for the last.
func onSignal(signals chan os.Signal, act func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-signals:
				act()
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
