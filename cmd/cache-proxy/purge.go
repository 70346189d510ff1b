package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A purged is what went.
type purged struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (p *invocation) purgeCommand() *cobra.Command {
	admin, pattern, prefix, asJSON := "", "", false, false
	c := &cobra.Command{
		Use:   "purge HUB|HUB:/PATH|URL",
		Short: "Forget what is stored under a path, so that mirrors are asked for it again",
		Long: `Removes the object of a path, in all of its variants; with --prefix all that begins so,
with --pattern what of a hub matches. Through the admin listener where a server runs, which
then forgets what it remembers too; else in the data directory itself. Of nothing is no error.

` + selection,
		Example: `  cache-proxy purge http://cache.lan:8881/npm/left-pad
  cache-proxy purge --prefix debian:/dists/
  cache-proxy purge --pattern '\.deb$' debian`,
		Args:              between(1, 1),
		ValidArgsFunction: p.hubNames,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.configured()
			if err != nil {
				return err
			}
			choose := pointed
			if prefix || pattern != "" {
				choose = selected
			}
			hub, path, err := choose(c, args[0])
			if err != nil {
				return err
			}
			query := url.Values{"hub": {hub}}
			switch {
			case hub == "": // which would be all hubs
				return misused(fmt.Errorf("%q names no hub", args[0]))
			case pattern != "" && (prefix || path != ""):
				return misused(errors.New("--pattern is for a whole hub"))
			case pattern != "":
				if _, err := regexp.Compile(pattern); err != nil {
					return misused(fmt.Errorf("--pattern: %w", err))
				}
				query.Set("pattern", pattern)
			case path == "":
				return misused(fmt.Errorf("this would be all of %s: say %s:/ and --prefix", hub, hub))
			case prefix:
				query.Set("prefix", path)
			default:
				query.Set("path", path)
			}
			gone, err := p.purge(c, admin, query)
			switch {
			case err != nil:
				return err
			case gone.Objects == 0 && nothing(c, hub) != nil:
				return nothing(c, hub)
			case asJSON:
				return p.writeJSON(gone)
			}
			fmt.Fprintf(p.stdout, "%s, %s\n", objects(gone.Objects), size(float64(gone.Bytes)))
			return nil
		},
	}
	adminFlag(c, &admin)
	c.Flags().BoolVar(&prefix, "prefix", false, "all whose path begins so")
	c.Flags().StringVar(&pattern, "pattern", "", "all of the hub whose path this `regexp` matches")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// purge asks the server, or does it itself where there is none.
func (p *invocation) purge(c *cacheproxy.Config, admin string, query url.Values) (gone purged, err error) {
	o, err := newOperator(c, admin)
	if err == nil {
		err = o.ask(context.Background(), http.MethodDelete, "/api/v1/objects", query, &gone)
	}
	if err == nil || admin != "" || !errors.Is(err, errNoServer) {
		return gone, err
	}
	err = p.hold(func(ctx context.Context, _ *cacheproxy.Config, s *cacheproxy.Shelf) error {
		gone, err = purgeShelf(ctx, s, query)
		return err
	})
	return gone, err
}

// purgeShelf does what the admin listener would do.
func purgeShelf(ctx context.Context, s *cacheproxy.Shelf, query url.Values) (gone purged, err error) {
	hub, path, prefix := query.Get("hub"), query.Get("path"), query.Get("prefix")+query.Get("path")
	match, err := regexp.Compile(query.Get("pattern"))
	if err != nil {
		return gone, err
	}
	for e, err := range s.Entries(ctx, hub, prefix) {
		if err != nil {
			return gone, err
		}
		if path != "" && e.Key.Path != path || !match.MatchString(e.Key.Path) || !strings.HasPrefix(e.Key.Path, prefix) {
			continue
		}
		if err := s.Delete(ctx, e.Key); err != nil {
			return gone, err
		}
		gone.Objects++
		gone.Bytes += e.Size
	}
	return gone, nil
}

// objects is so many of them, in words.
func objects(n int64) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}
