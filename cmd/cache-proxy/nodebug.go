//go:build !pprof

package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

// debugFlags are empty in builds without the tag pprof.
type debugFlags struct{}

func (*debugFlags) register(*cobra.Command) {}

func (*debugFlags) handler() http.Handler { return nil }
