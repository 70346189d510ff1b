package main

import (
	"cmp"

	"github.com/spf13/cobra"
)

// state ends the help of a command, and of those below it, with its exit statuses.
func state(c *cobra.Command) {
	for _, below := range c.Commands() {
		state(below)
	}
	if one := exitOne(c.Name()); one != "" {
		c.Long = cmp.Or(c.Long, c.Short+".") + "\n\nExit status: 0 done; 1 " + one + ";\n2 the command line or the configuration is wrong."
	}
}

// exitOne is what exit status 1 of a command says.
func exitOne(name string) string {
	switch name {
	case "serve":
		return "it could not serve, or a second signal cut the drain short"
	case "check":
		return "the result could not be written"
	case "init":
		return "the file is there already or cannot be written, or what was found needs a hand"
	case "mirrors":
		return "no server has written a league yet"
	case "bench":
		return "nothing could be measured"
	case "ls", "du":
		return "what is stored cannot be read, in part or as a whole"
	case "verify":
		return "there is damage, removed or not, or something cannot be read"
	case "export":
		return "something is damaged and left out, or cannot be read or written"
	case "import":
		return "the bundle is wrong or cut short, something cannot be read, or a server runs on the data directory"
	case "prefetch":
		return "something could not be had"
	case "purge":
		return "a server runs and has no admin listener, or did not do it"
	case "why":
		return "the answer could not be written"
	case "top":
		return "no server answers"
	case "man":
		return "a page could not be written"
	}
	return ""
}
