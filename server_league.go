package cacheproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/upstream"
)

// A Standing is what a hub knows of its mirrors.
type Standing struct {
	Hub    string `json:"hub"`
	Origin string `json:"origin,omitempty"` // a second host of the hub's; "" is its mirrors, "+NAME" those of a member
	upstream.Stats
}

// MirrorStats is a mirror's place in the league.
type MirrorStats = upstream.MirrorStats

// Standings reads what the server of cfg has last written about its mirrors,
// seconds ago if it runs. It is [fs.ErrNotExist] where none has run yet.
func Standings(cfg *Config) ([]Standing, error) {
	text, err := os.ReadFile(leagueFile(cfg.Storage.Local.Path))
	if err != nil {
		return nil, err
	}
	var all []Standing
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", leagueFile(cfg.Storage.Local.Path), err)
	}
	return all, nil
}

func leagueFile(data string) string { return filepath.Join(data, ".meta", "mirrors.json") }

// leagueTime is how often the league is written.
const leagueTime = 10 * time.Second

// league keeps the standings of all mirrors in a file, over restarts.
type league struct {
	file   string
	before []Standing // of the process before

	mu      sync.Mutex
	written string // what the file has; guarded by mu
	paused  bool   // the file is another process's; guarded by mu
}

// openLeague reads what there is. A file that cannot be read is as good as none.
func openLeague(data string, log *slog.Logger) *league {
	l := &league{file: leagueFile(data)}
	text, err := os.ReadFile(l.file)
	if err == nil {
		err = json.Unmarshal(text, &l.before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("records of mirrors begin anew", "err", err)
	}
	return l
}

// records are what an earlier process knew of a hub's mirrors.
func (l *league) records(hub, origin string) []upstream.Record {
	var all []upstream.Record
	for _, s := range l.before {
		if s.Hub != hub || s.Origin != origin {
			continue
		}
		for _, m := range s.Mirrors {
			all = append(all, m.Record)
		}
	}
	return all
}

// standings are those of now, of all hubs.
func (r *revision) standings() []Standing {
	var all []Standing
	for _, m := range r.hubs {
		for _, l := range m.lines {
			all = append(all, Standing{Hub: l.Hub, Origin: l.origin, Stats: l.group.Stats()})
		}
	}
	return all
}

// save writes standings, if they have changed. The file is replaced, so that a
// reader sees the old or the new one.
func (l *league) save(all []Standing) error {
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused || string(text) == l.written {
		return nil
	}
	if err := os.WriteFile(l.file+".new", text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(l.file+".new", l.file); err != nil {
		return err
	}
	l.written = string(text)
	return nil
}

// pause leaves the file to another process, or takes it back.
func (l *league) pause(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused, l.written = paused, ""
}

// keep saves now and then, and sets the rate of the hour, until ctx is done.
func (s *Server) keep(ctx context.Context, now func() time.Time) {
	t := time.NewTicker(leagueTime)
	defer t.Stop()
	for {
		s.rate.Set(int64(s.revision().config.Limits.rateAt(now())))
		select {
		case <-t.C:
			s.operators.sample()
			if err := s.league.save(s.revision().standings()); err != nil {
				s.log.Warn("records of mirrors not written", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rateAt is upstream-rate at a time of day.
func (l *Limits) rateAt(now time.Time) Size {
	for i := range l.UpstreamHours {
		if l.UpstreamHours[i].holds(now) {
			return l.UpstreamHours[i].Rate
		}
	}
	return l.UpstreamRate
}
