package cacheproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// filters is the table of kinds of filters. One that is written elsewhere is a line
// more (package filter/template).
var filters = map[string]filter.Kind{
	"HeaderCounter":   filter.HeaderCounter(),
	"Validator":       filter.Validator(),
	"RequestAdaptor":  filter.RequestAdaptor(),
	"ResponseAdaptor": filter.ResponseAdaptor(),
	"ClientNetworks":  filter.ClientNetworks(),
	"BasicAuth":       filter.BasicAuth(),
	"TokenAuth":       filter.TokenAuth(),
	"JWT":             filter.JWT(),
	"RateLimiter":     filter.RateLimiter(),
	"AllowDeny":       filter.AllowDeny(),
	"Cooldown":        filter.Cooldown(),
	"Webhook":         filter.Webhook(),
	"Audit":           filter.Audit(),
	"CORS":            filter.CORS(),
	"Mock":            filter.Mock(),
	"Fallback":        filter.Fallback(),
}

// dated are the types of hubs whose indexes tell when versions were published:
// those that are a [hub.Dater].
var dated = []HubType{"go", "npm", "pub", "pypi"}

// An installed is a filter that revisions have. Those that mean the same by it
// share it.
type installed struct {
	*filter.Named
	config  Filter
	holders atomic.Int64 // revisions
}

// drop is the end of a revision's part in it.
func (f *installed) drop() error {
	if f.holders.Add(-1) > 0 {
		return nil
	}
	if c, ok := f.Filter.(filter.Closer); ok {
		return c.Close()
	}
	return nil
}

// install makes the filters of a configuration, for the revision that follows old
// (nil: it is the first). What old has under the same kind and name is taken as it
// is where the options are the same, and else counted on.
func (s *Server) install(cfg *Config, old *revision) (_ []*installed, err error) {
	var all []*installed
	defer func() {
		if err != nil {
			for _, f := range all {
				f.drop()
			}
		}
	}()
	for i := range cfg.Filters {
		c := &cfg.Filters[i]
		before := old.filter(c.Kind, c.Name)
		if before != nil && reflect.DeepEqual(before.config.Options, c.Options) && hold(&before.holders) {
			all = append(all, before)
			continue
		}
		k := filters[c.Kind]
		made, err := k.New(c.Options, filter.Env{Name: c.Name, Log: s.log, Now: s.options.Now})
		if err != nil {
			return nil, cfg.Problem(fmt.Sprintf("filters[%d]", i), err.Error())
		}
		f := &installed{Named: filter.NewNamed(c.Kind, c.Name, k, made), config: *c}
		f.holders.Store(1)
		if before != nil {
			f.Inherit(before.Named)
		}
		all = append(all, f)
	}
	return all, nil
}

// filter is the one of that kind and name; nil if there is none.
func (r *revision) filter(kind, name string) *installed {
	if r != nil {
		for _, f := range r.filters {
			if f.Kind == kind && f.Name == name {
				return f
			}
		}
	}
	return nil
}

// flow is what stands before a hub; nil if nothing does.
func (r *revision) flow(m *mounted) *filter.Flow {
	named, kinds := map[string]*filter.Named{}, map[string]filter.Kind{}
	for _, f := range r.filters {
		named[f.Name], kinds[f.Name] = f.Named, filters[f.Kind]
	}
	return filter.NewFlow(steps(m.config.Flow), named, kinds)
}

// filtered is what filters know of a hub.
func (s *Server) filtered(m *mounted) *filter.Hub {
	h := &filter.Hub{
		Name:  m.config.Name,
		Type:  string(m.config.Module()),
		Parse: m.hub.Parse,
		Stored: func(ctx context.Context, key exchange.Key) bool {
			_, content, err := s.store.Open(ctx, key)
			if err != nil {
				return false
			}
			content.Close()
			return true
		},
	}
	if dater, ok := m.module.(hub.Dater); ok {
		h.Published = func(ctx context.Context, req *exchange.Request) (time.Time, error) {
			return dater.Published(ctx, m.cached, req)
		}
	}
	return h
}

// preflighting is h behind the filters that answer before there is an exchange.
func preflighting(flow *filter.Flow, h http.Handler) http.Handler {
	if flow == nil || !flow.Preflights() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodOptions || !flow.Preflight(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// A FilterStatus is that of one filter.
type FilterStatus struct {
	Kind    string           `json:"kind"`
	Name    string           `json:"name"`
	Handled int64            `json:"handled"`          // requests
	Results map[string]int64 `json:"results"`          // of them, by what it said
	Status  any              `json:"status,omitempty"` // of its kind
}

// filterStatus is what the filters of a revision have counted.
func (r *revision) filterStatus() []FilterStatus {
	all := make([]FilterStatus, len(r.filters))
	for i, f := range r.filters {
		all[i] = f.status()
	}
	return all
}

func (f *installed) status() FilterStatus {
	handled, results := f.Counts()
	return FilterStatus{Kind: f.Kind, Name: f.Name, Handled: handled, Results: results, Status: f.Filter.Status()}
}

// uninstall lets go of a revision's filters.
func (r *revision) uninstall() error {
	var errs []error
	for _, f := range r.filters {
		errs = append(errs, f.drop())
	}
	return errors.Join(errs...)
}
