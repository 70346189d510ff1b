// Package maven is the hub of Maven repositories, as Maven, Gradle, sbt and their
// kin ask for them.
//
// Its words: a group G, an artifact A and a version V make a path, G/A/V/A-V.jar;
// a snapshot is a version that is still being worked on, whose files are mutable
// under the version's name and immutable under a timestamp; metadata lists
// versions; a side file holds the checksum of the file that it is named for.
//
// Released files never change. Nothing is rewritten. The side file of what may
// change is computed from what the hub serves, so that the two always fit; that
// of a released file comes from a mirror, is refused if it is no checksum or not
// the one of what is stored, and teaches the ledger (side.go). Metadata never goes
// back to what a mirror behind the others has (metadata.go).
//
// Repositories of different content are several hubs, or members of one, whose
// metadata is merged (member.go).
package maven

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	ledger *ledger.Ledger

	mu      sync.Mutex
	updated map[exchange.Key]string // guarded by mu; lastUpdated of metadata, the latest seen
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
)

// New makes a hub. l may be nil.
func New(o hub.Options, l *ledger.Ledger) *Hub {
	return &Hub{hub: o, ledger: l, updated: map[exchange.Key]string{}}
}

const (
	metadataTTL = 10 * time.Minute
	snapshotTTL = 5 * time.Minute
	indexTTL    = time.Hour
)

// Parse takes any path of a file; one that it cannot place is mutable. There are
// no listings, and no field of the client's counts: Maven sends no-cache with
// every request.
func (h *Hub) Parse(r *http.Request) (*exchange.Request, error) {
	path, target, err := hub.Path(r.URL)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, "/") {
		return nil, fmt.Errorf("%s: no file: %w", path, fs.ErrNotExist)
	}
	return h.request(path, target), nil
}

func (h *Hub) request(path, target string) *exchange.Request {
	of, _ := cutSide(path)
	p := place(of)
	return &exchange.Request{
		Key:     exchange.Key{Hub: h.hub.Name, Path: path},
		Target:  target,
		Policy:  h.hub.Policies.For(path, p.class, p.ttl),
		Package: p.pkg, Version: p.version,
	}
}

// A placed file is what its path says of it.
type placed struct {
	class        freshness.Class
	ttl          time.Duration
	pkg, version string // "group:artifact"; "" if the path has none
}

// place finds a file's place in the layout, /G/…/A/V/FILE.
func place(path string) placed {
	if strings.HasPrefix(path, "/.index/") || strings.HasSuffix(path, "/archetype-catalog.xml") {
		return placed{ttl: indexTTL}
	}
	dir, file := cutLast(path)
	artifactDir, version := cutLast(dir)
	groupDir, artifact := cutLast(artifactDir)
	group := strings.ReplaceAll(strings.TrimPrefix(groupDir, "/"), "/", ".")
	base, snapshot := strings.CutSuffix(version, "-SNAPSHOT")
	switch {
	case file == "maven-metadata.xml" || strings.HasPrefix(file, "maven-metadata.xml."):
		if snapshot {
			return placed{ttl: snapshotTTL, pkg: group + ":" + artifact, version: version}
		}
		return placed{ttl: metadataTTL}
	case group == "":
		return placed{ttl: metadataTTL}
	}
	p := placed{ttl: metadataTTL, pkg: group + ":" + artifact, version: version}
	rest, own := strings.CutPrefix(file, artifact+"-"+base)
	if snapshot {
		p.ttl = snapshotTTL
		own = own && isTimestamp(rest)
	} else {
		own = own && strings.HasPrefix(rest, ".") || own && strings.HasPrefix(rest, "-") && strings.Contains(rest, ".")
	}
	if own {
		p.class = freshness.Immutable
	}
	return p
}

func cutLast(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// isTimestamp says whether s begins with -YYYYMMDD.HHMMSS-N, and then the rest of
// a file's name.
func isTimestamp(s string) bool {
	const form = "-00000000.000000-"
	if len(s) <= len(form) {
		return false
	}
	for i := range len(form) {
		if form[i] == '0' && (s[i] < '0' || s[i] > '9') || form[i] != '0' && s[i] != form[i] {
			return false
		}
	}
	rest := strings.TrimLeft(s[len(form):], "0123456789")
	return len(rest) < len(s)-len(form) && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "-"))
}

// Rewrite computes the side files of what may change.
func (h *Hub) Rewrite(next exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		of, algorithm := cutSide(req.Key.Path)
		if algorithm == "" || place(of).class == freshness.Immutable {
			return next.Get(ctx, req)
		}
		return h.computed(ctx, next, req, of, algorithm)
	})
}

// Gate looks at side files and metadata before they are stored.
func (h *Hub) Gate(next, _ exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		of, algorithm := cutSide(req.Key.Path)
		switch {
		case req.Head:
			return next.Get(ctx, req)
		case algorithm != "":
			return h.checked(ctx, next, req, of, algorithm)
		case strings.HasSuffix(of, "/maven-metadata.xml"):
			return h.newest(ctx, next, req)
		}
		return next.Get(ctx, req)
	})
}
