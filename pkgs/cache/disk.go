package cache

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store"
)

// disk watches the store's write errors. After five in a row nothing is drafted
// for a while, so that a dead disk costs nobody time; then one draft is a probe.
type disk struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	errors int       // in a row
	failed int64     // in all
	full   int64     // wishes for room that were not met
	until  time.Time // bypassed until then
	short  bool      // the last wish for room was not met
}

const (
	diskErrors = 5
	diskPause  = 30 * time.Second
)

// errBypass says that the store is not asked at present.
var errBypass = errors.New("the store is bypassed after errors")

// allow is errBypass while the store is bypassed.
func (d *disk) allow() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.errors < diskErrors {
		return nil
	}
	now := d.now()
	if now.Before(d.until) {
		return errBypass
	}
	d.until = now.Add(diskPause) // this one is the probe
	return nil
}

// well says that there is no reason to expect that the next draft fails.
func (d *disk) well() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errors == 0 && !d.short
}

// note takes the outcome of a write; a full store is no error of the disk.
func (d *disk) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		if d.errors >= diskErrors {
			d.log.Info("store can be written again")
		}
		d.errors, d.short = 0, false
	case errors.Is(err, store.ErrFull):
		d.full++
		d.short = true
	case errors.Is(err, errBypass):
	default:
		d.failed++
		if d.errors++; d.errors >= diskErrors {
			d.until = d.now().Add(diskPause)
		}
		if d.errors == diskErrors {
			d.log.Error("store is bypassed, answers pass through", "errors", d.errors, "err", err)
		}
	}
}
