package filter

import (
	"context"
	"net/http"
	"sync/atomic"
)

type headerCounterOptions struct {
	Headers []string `yaml:"headers,single,required"` // names of fields
}

// Check implements [Checker].
func (o *headerCounterOptions) Check(reject func(path, format string, args ...any)) {
	checkNames(o.Headers, "headers", reject)
}

// HeaderCounter is the kind that counts the requests which have a field. Its
// result invalidHeader is of those that have none of them.
func HeaderCounter() Kind {
	return Define("counts requests that have header fields", []Result{{Name: "invalidHeader", Goes: true}},
		headerCounterOptions{}, func(o headerCounterOptions, _ Env) (Filter, error) {
			c := &headerCounter{names: canonical(o.Headers)}
			for range c.names {
				c.counts = append(c.counts, &atomic.Int64{})
			}
			return c, nil
		})
}

type headerCounter struct {
	names  []string
	counts []*atomic.Int64 // of names
}

var _ Heir = (*headerCounter)(nil)

func (c *headerCounter) Handle(_ context.Context, x *Exchange) string {
	found := false
	for i, name := range c.names {
		if _, ok := x.Request.Client.Header[name]; ok {
			c.counts[i].Add(1)
			found = true
		}
	}
	if !found {
		return "invalidHeader"
	}
	return ""
}

func (c *headerCounter) Status() any {
	status := map[string]int64{}
	for i, name := range c.names {
		status[name] = c.counts[i].Load()
	}
	return status
}

// Inherit goes on with the counts of the fields that both have.
func (c *headerCounter) Inherit(from Filter) {
	old := from.(*headerCounter)
	for i, name := range c.names {
		for j := range old.names {
			if old.names[j] == name {
				c.counts[i] = old.counts[j]
			}
		}
	}
}

// canonical are names as [http.Header] has them.
func canonical(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = http.CanonicalHeaderKey(name)
	}
	return out
}
