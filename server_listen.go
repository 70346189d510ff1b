package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// An inlet is an address that is listened on. It outlives revisions: those that
// want it share it, and what comes in is the current one's.
type inlet struct {
	net.Listener
	address Address // as configured; zero if the listener was given
	done    chan struct{}
}

// Run serves on the configured addresses, that of operators too, until ctx is
// done, then drains: requests under way may go on for limits.drain. Sockets that
// the process was started with (systemd's protocol, LISTEN_FDS) take the place of
// those for clients. It ends likewise behind an Upgrade. The error is about listening or serving; after a drain there is none.
func (s *Server) Run(ctx context.Context) error {
	given, err := inherited()
	given = append(given, s.options.Predecessor.given()...)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	operators, err := s.operators.listen(s.revision().config)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	s.operators.serve(operators, s.revision().config.Admin.Listen.Address)
	defer s.operators.stop()
	if len(given) > 0 {
		return s.Serve(ctx, given...)
	}
	inlets, _, err := s.open(s.revision().config)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return s.run(ctx, inlets)
}

// Serve is Run on listeners that the caller has made, whatever the configuration
// says of addresses. It takes them over.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	inlets := make([]*inlet, len(listeners))
	for i, l := range listeners {
		inlets[i] = &inlet{Listener: l}
	}
	return s.run(ctx, inlets)
}

// run serves on inlets until ctx is done or one of them fails.
func (s *Server) run(ctx context.Context, inlets []*inlet) error {
	failed := make(chan error, 1)
	s.reloading.Lock()
	s.failed, s.running = failed, true
	s.revision().door.open()
	defer s.connections.keepSpare()()
	s.attach(inlets)
	s.reloading.Unlock()
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { s.keep(keeping, time.Now) })
	kept.Go(func() { s.watch(keeping) })
	kept.Go(func() { s.tell(keeping) })
	s.notifier.ready()
	s.options.Predecessor.ready()
	kept.Go(func() { s.notifier.watchdog(keeping) })

	var err error
	select {
	case err = <-failed:
	case <-s.stopped:
		s.log.Info("draining", "limit", s.revision().config.Limits.Drain, "cause", "an operator")
	case <-s.upgrades.left:
		s.operators.stop()
		s.leave(ctx)
		s.log.Info("draining", "limit", s.revision().config.Limits.Drain, "cause", "an upgrade")
	case <-ctx.Done():
		s.log.Info("draining", "limit", s.revision().config.Limits.Drain)
	}
	if !s.upgrades.leaving.Load() {
		s.notifier.stopping()
	}
	s.draining.Store(true)
	s.reloading.Lock() // a reload under way ends first; none begins any more
	s.detach(slices.Clone(s.inlets))
	s.reloading.Unlock()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(s.revision().config.Limits.Drain))
	defer cancel()
	if !s.doors.drain(drain) {
		s.log.Warn("requests cut by the end of the drain")
	}
	stop()
	kept.Wait()
	return errors.Join(err, s.close(drain))
}

// attach begins to accept on inlets. Callers hold reloading.
func (s *Server) attach(inlets []*inlet) {
	for _, p := range inlets {
		s.log.Info("serving app", "addr", p.Addr().String())
		p.done = make(chan struct{})
		go func() {
			defer close(p.done)
			if err := s.accept(p); err != nil {
				select {
				case s.failed <- fmt.Errorf("accept on %v: %w", p.Addr(), err):
				default: // another one has failed before
				}
			}
		}()
	}
	s.inlets = append(s.inlets, inlets...)
}

// detach closes inlets; connections that they took stay. Callers hold reloading.
func (s *Server) detach(inlets []*inlet) {
	for _, p := range inlets {
		p.Close()
		<-p.done
		s.log.Info("serving ended", "addr", p.Addr().String())
	}
	s.inlets = slices.DeleteFunc(s.inlets, func(p *inlet) bool { return slices.Contains(inlets, p) })
}

// open listens on the addresses of cfg that nobody listens on yet: on all, or on
// none. gone are the inlets that cfg does not want any more; given ones are none of
// its business. Callers hold reloading, or are the first.
func (s *Server) open(cfg *Config) (opened, gone []*inlet, err error) {
	defer func() {
		if err != nil {
			for _, p := range opened {
				p.Close()
			}
		}
	}()
	if slices.ContainsFunc(s.inlets, func(p *inlet) bool { return p.address == Address{} }) {
		return nil, nil, nil
	}
	addresses := cfg.addresses()
	for _, a := range addresses {
		if slices.ContainsFunc(s.inlets, func(p *inlet) bool { return p.address == a }) {
			continue
		}
		l, err := s.listen(a, false)
		if err != nil {
			return opened, nil, err
		}
		opened = append(opened, &inlet{Listener: l, address: a})
	}
	for _, p := range s.inlets {
		if !slices.Contains(addresses, p.address) {
			gone = append(gone, p)
		}
	}
	return opened, gone, nil
}

// listen opens an address, for operators or for clients, unless the process before
// has it open.
func (s *Server) listen(a Address, operators bool) (net.Listener, error) {
	if l := s.options.Predecessor.take(a, operators); l != nil {
		return l, nil
	}
	return listen(a)
}

// listen opens an address. A socket file that nobody listens on is replaced.
func listen(a Address) (net.Listener, error) {
	if a.Network == "unix" {
		if c, err := net.Dial("unix", a.Address); err == nil {
			c.Close()
			return nil, fmt.Errorf("listen on %v: another process does", a)
		}
		if info, err := os.Lstat(a.Address); err == nil && info.Mode().Type() == fs.ModeSocket {
			os.Remove(a.Address)
		}
	}
	return net.Listen(a.Network, a.Address)
}
