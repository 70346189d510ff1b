package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/edge"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/front"
)

// serve prepares the HTTP server.
func (s *Server) serve(cfg *Config) {
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Duration(cfg.Limits.ClientHeaderTimeout),
		IdleTimeout:       time.Duration(cfg.Limits.ClientIdleTimeout),
		MaxHeaderBytes:    int(cfg.Limits.RequestLine + cfg.Limits.RequestHeaders),
		ConnContext:       edge.ConnContext,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.front = front.New(front.Options{
		Target:        int(cfg.Limits.RequestLine),
		Header:        int(cfg.Limits.RequestHeaders),
		Fields:        cfg.Limits.RequestFields,
		HeaderTimeout: time.Duration(cfg.Limits.ClientHeaderTimeout),
		Log:           s.log,
	})
	s.front.Prepare(&s.http)
}

// Run serves on the configured addresses, that of operators too, until ctx is
// done, then drains: requests under way may go on for limits.drain. The error is about listening
// or serving; after a drain there is none.
func (s *Server) Run(ctx context.Context) error {
	cfg := s.revision().config
	operators, err := s.operators.listen(cfg)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer s.operators.serve(operators)()
	listeners, err := listen(cfg.Listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Serve(ctx, listeners...)
}

// Serve is Run on listeners that the caller has made. It takes them over.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		s.log.Info("serving app", "addr", l.Addr().String())
		// The guard is the last wrapper of l: limits of connections, then TLS, stand below it.
		go func() { served <- s.http.Serve(s.front.Listener(l)) }()
	}
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { s.keep(keeping, time.Now) })
	var err error
	running := len(listeners)
	select {
	case err = <-served:
		running--
	case <-ctx.Done():
		s.log.Info("draining", "limit", s.revision().config.Limits.Drain)
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(s.revision().config.Limits.Drain))
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.log.Warn("requests cut by the end of the drain")
		s.http.Close()
	}
	for range running {
		<-served
	}
	stop()
	kept.Wait()
	return errors.Join(err, s.close(drain))
}

// listen opens all addresses, or none. A socket file that nobody listens on is replaced.
func listen(addrs []Address) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
		}
	}()
	for _, a := range addrs {
		if a.Network == "unix" {
			if c, err := net.Dial("unix", a.Address); err == nil {
				c.Close()
				return all, fmt.Errorf("listen on %v: another process does", a)
			}
			if info, err := os.Lstat(a.Address); err == nil && info.Mode().Type() == fs.ModeSocket {
				os.Remove(a.Address)
			}
		}
		l, err := net.Listen(a.Network, a.Address)
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}
