package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A want is something that is to be in the cache.
type want struct {
	kind          cacheproxy.HubType // of the hub that has it; "" for a URL
	name, version string             // of the package
	url           string             // of kind ""; else path below the mount, where the lock file says it
	digests       []cacheproxy.Digest

	mod bool // of go: go.mod alone
}

func (w want) String() string {
	if w.kind == "" {
		return w.url
	}
	return string(w.kind) + " " + w.name + "@" + w.version
}

// A fetching is what prefetch has done.
type fetching struct {
	Fetched int64     `json:"fetched"` // files that a mirror was asked for
	Had     int64     `json:"had"`     // that the cache had
	Bytes   int64     `json:"bytes"`   // that were read
	Skipped []problem `json:"skipped,omitempty"`
	Failed  []problem `json:"failed,omitempty"`
}

type problem struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

func (p *invocation) prefetchCommand() *cobra.Command {
	f := &fetcher{}
	server, only, asJSON := "", "", false
	c := &cobra.Command{
		Use:   "prefetch URL|FILE...",
		Short: "Have the running server fetch what a lock file, an SBOM or a list names",
		Long: `Asks the running server for everything that the arguments name, so that it is stored when
clients want it. A FILE is told by its content: package-lock.json or npm-shrinkwrap.json,
go.sum, requirements.txt with versions pinned or hashes, Cargo.lock, composer.lock,
Gemfile.lock, NuGet's packages.lock.json, renv.lock, rebar.lock, mix.lock, pubspec.lock,
.terraform.lock.hcl, Chart.lock, conda's explicit lists, pixi.lock, conda-lock.yml, an SBOM of
CycloneDX or SPDX as JSON (packages by purl: npm, pypi, golang, cargo, maven, composer, gem,
nuget, cran, hex, pub), or a list of URLs or paths, one a line; - is the standard input. A URL
is always asked of the server, whatever its host, which goes into the Host field.

Packages go to the first hub of their type, or to the one that --hub names. What a lock file
says of digests is checked (go checks its own; NuGet and renv have none of files). What is
stored already is not asked of mirrors, and what was cut short is gone on with: so an
interrupted prefetch is just started again. SBOMs name no parents of POMs and no build
dependencies. Packages of other kinds, and what comes from git, are skipped, and said.`,
		Example: `  cache-proxy prefetch package-lock.json go.sum
  cache-proxy prefetch --only 'linux|none-any|\.tar\.gz' requirements.txt
  cache-proxy prefetch --only linux_amd64 --server https://cache.lan .terraform.lock.hcl
  cache-proxy prefetch --server http://cache.lan:8881 /debian/dists/trixie/InRelease`,
		Args: between(1, 1<<20),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.configured()
			if err != nil {
				return err
			}
			if f.only, err = regexp.Compile(only); err != nil {
				return misused(fmt.Errorf("--only: %w", err))
			}
			if f.hubs, err = hubsByType(c, f.named); err != nil {
				return misused(err)
			}
			f.mirrors = mirrorsOf(c, f.hubs)
			if f.server, err = newServer(c, server); err != nil {
				return misused(err)
			}
			defer f.server.close()
			wants, err := readWants(args, os.Stdin)
			if err != nil {
				return misused(err)
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			f.bar = p.newBar(int64(len(wants)), "fetching", false)
			err = f.all(ctx, wants)
			f.bar.finish()
			if asJSON {
				err = errors.Join(err, p.writeJSON(f.done))
			} else {
				p.printFetching(&f.done)
			}
			if err == nil && len(f.done.Failed) > 0 {
				err = failed(exitFailed, nil)
			}
			return err
		},
	}
	c.Flags().StringVar(&server, "server", "", "base `URL` of the server; default the first address of listen")
	c.Flags().StringArrayVar(&f.named, "hub", nil, "`name` of a hub to use for packages of its type; may be repeated")
	c.Flags().IntVar(&f.parallel, "parallel", 8, "how many to ask for at a time")
	c.Flags().StringVar(&only, "only", "", "of pypi and terraform: the files whose name matches this `regexp` alone")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return c
}

func (p *invocation) printFetching(done *fetching) {
	for _, s := range done.Skipped {
		fmt.Fprintf(p.stderr, "skipped %s: %s\n", s.What, s.Reason)
	}
	for _, f := range done.Failed {
		fmt.Fprintf(p.stderr, "failed %s: %s\n", f.What, f.Reason)
	}
	fmt.Fprintf(p.stdout, "%d fetched, %d had, %s; %d failed, %d skipped\n", done.Fetched, done.Had, size(float64(done.Bytes)), len(done.Failed), len(done.Skipped))
}

// hubsByType are the hubs that packages go to: the first of a type, unless another
// one is named.
func hubsByType(c *cacheproxy.Config, named []string) (map[cacheproxy.HubType]string, error) {
	paths, all := map[cacheproxy.HubType]string{}, c.Served()
	for _, name := range named {
		i := slices.IndexFunc(all, func(h cacheproxy.Hub) bool { return h.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no hub %q in the configuration", name)
		}
		paths[all[i].Module()] = all[i].Path
	}
	for _, h := range all {
		if _, ok := paths[h.Module()]; !ok {
			paths[h.Module()] = h.Path
		}
	}
	return paths, nil
}

// A fetcher asks the server for things.
type fetcher struct {
	server   *server
	named    []string
	hubs     map[cacheproxy.HubType]string   // mounts
	mirrors  map[cacheproxy.HubType][]string // base URLs
	parallel int
	only     *regexp.Regexp
	bar      bar

	pages  memo[[]byte]            // by path
	tables memo[map[string]string] // of R's repositories: the versions of today, by mount

	mu   sync.Mutex
	done fetching // guarded by mu
}

// errSkipped is why a want is not asked for.
type errSkipped struct{ reason string }

func (e errSkipped) Error() string { return e.reason }

// all asks for all wants. An error is of ctx alone: what failed is noted.
func (f *fetcher) all(ctx context.Context, wants []want) error {
	queue := make(chan want)
	var workers sync.WaitGroup
	for range min(max(f.parallel, 1), len(wants)) {
		workers.Go(func() {
			for w := range queue {
				f.note(ctx, w, f.fetch(ctx, w))
			}
		})
	}
feed:
	for _, w := range wants {
		select {
		case queue <- w:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	return ctx.Err()
}

func (f *fetcher) note(ctx context.Context, w want, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bar.add(1)
	var skipped errSkipped
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &skipped):
		f.done.Skipped = append(f.done.Skipped, problem{w.String(), err.Error()})
	default:
		f.done.Failed = append(f.done.Failed, problem{w.String(), err.Error()})
	}
}

// get asks for one file, and counts it.
func (f *fetcher) get(ctx context.Context, url string, digest cacheproxy.Digest) error {
	had, n, err := f.server.read(ctx, url, digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done.Bytes += n
	switch {
	case err != nil:
		return err
	case had:
		f.done.Had++
	default:
		f.done.Fetched++
	}
	return nil
}
