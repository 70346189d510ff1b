package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// serveCommand is what the program does without a sub-command, too.
func (p *invocation) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve until SIGTERM, then drain; SIGHUP reads the configuration again",
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
	hangups := make(chan os.Signal, 1) // from now on, since a SIGHUP would else end the process
	signal.Notify(hangups, syscall.SIGHUP)
	s, err := cacheproxy.New(c, cacheproxy.Options{
		Log: log, Lines: logger, Level: logger.Level, Version: programVersion(), Debug: p.debug.handler(),
		File: p.file(), Load: p.reload, Prepare: logger.Prepare,
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
