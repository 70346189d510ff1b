//go:build !pprof

package main

import (
	"flag"
	"net/http"
)

// debugFlags are empty in builds without the tag pprof.
type debugFlags struct{}

func (*debugFlags) register(*flag.FlagSet) {}

func (*debugFlags) handler() http.Handler { return nil }
