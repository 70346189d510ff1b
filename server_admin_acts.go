package cacheproxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/admin"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// recentErrors is how many warnings and errors are kept for operators.
const recentErrors = 256

// flights are the transfers under way.
func (a *operators) flights() []admin.Flight {
	flying := a.server.cache.Flights()
	now := a.server.options.Now()
	all := make([]admin.Flight, len(flying))
	for i, f := range flying {
		all[i] = admin.Flight{
			Hub: f.Key.Hub, Path: f.Key.Path, Variant: f.Key.Variant, Mirror: f.Mirror, Begun: f.Begun,
			Bytes: f.Bytes, Total: f.Total, Clients: f.Readers,
		}
		if took := now.Sub(f.Begun); took > 0 {
			all[i].Rate = int64(float64(max(f.Bytes-f.Resumed, 0)) / took.Seconds())
		}
	}
	return all
}

// level is how much is logged; nil if that is not the server's to say.
func (a *operators) level() *admin.Level {
	v := a.server.options.Level
	if v == nil {
		return nil
	}
	return &admin.Level{
		Get: func() string { return Level(v.Level()).String() },
		Set: func(name string) error {
			l, err := ParseLevel(name)
			if err == nil {
				v.Set(slog.Level(l))
			}
			return err
		},
	}
}

// reload reads the configuration again; nil if there is none to be read.
func (a *operators) reload() func(context.Context) (any, error) {
	if a.server.options.Load == nil {
		return nil
	}
	return func(context.Context) (any, error) {
		if err := a.server.Reread(); err != nil {
			return nil, refusal(err)
		}
		return a.inForce(), nil
	}
}

// inForce says which configuration is.
func (a *operators) inForce() configRecord {
	rev := a.server.revision()
	return configRecord{rev.number, rev.begun}
}

// refusal is err of a configuration, as operators are told it.
func refusal(err error) error {
	var stated *exchange.Error
	var problems Problems
	var problem Problem
	switch {
	case errors.As(err, &stated):
		return err
	case errors.As(err, &problems), errors.As(err, &problem):
		return &exchange.Error{Status: http.StatusUnprocessableEntity, Reason: "invalid-configuration", Message: err.Error()}
	}
	return &exchange.Error{Status: http.StatusConflict, Message: err.Error()}
}
