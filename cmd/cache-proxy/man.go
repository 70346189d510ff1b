package main

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual, for packages.
func (p *invocation) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man FOLDER",
		Short:   "Write the pages of the manual into a folder",
		Example: `  cache-proxy man /usr/local/share/man/man1`,
		Hidden:  true,
		Args:    between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			date := time.Now()
			if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
				date = time.Unix(epoch, 0)
			}
			date = date.UTC()
			// Values of the environment are nobody's defaults.
			for _, name := range []string{"config", "log-level"} {
				c.Root().PersistentFlags().Lookup(name).DefValue = ""
			}
			c.Root().DisableAutoGenTag = true
			header := &doc.GenManHeader{Title: "CACHE-PROXY", Section: "1", Source: "cache-proxy", Manual: "cache-proxy", Date: &date}
			return doc.GenManTree(c.Root(), header, args[0])
		},
	}
}
