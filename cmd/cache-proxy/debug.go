//go:build pprof

package main

import (
	"net/http"
	"net/http/pprof"

	"github.com/spf13/cobra"
)

// debugFlags are there in builds with the tag pprof.
type debugFlags struct{ pprof bool }

func (d *debugFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&d.pprof, "pprof", true, "serve /debug/pprof/ on the admin listener")
}

// handler is what is served below /debug/pprof/; nil if nothing is.
func (d *debugFlags) handler() http.Handler {
	if !d.pprof {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
