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
// metadata is merged (metadata.go).
package maven

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// A Hub is one repository. It is safe for concurrent use.
type Hub struct {
	hub    hub.Options
	newest *hub.Newest // metadata
}

var (
	_ hub.Hub        = (*Hub)(nil)
	_ hub.Gatekeeper = (*Hub)(nil)
	_ hub.Merger     = (*Hub)(nil)
)

// New makes a hub.
func New(o hub.Options) *Hub {
	h := &Hub{hub: o}
	h.newest = hub.NewNewest(&h.hub)
	return h
}

const (
	metadataName = "maven-metadata.xml"

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
		return nil, hub.NoPath(path)
	}
	return h.request(path, target), nil
}

func (h *Hub) request(path, target string) *exchange.Request {
	of, _ := cutSide(path)
	p := place(of)
	req := h.hub.Request(path, target, p.class, p.ttl)
	req.Package, req.Version = p.pkg, p.version
	return req
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
	dir, file := hub.CutLast(path)
	artifactDir, version := hub.CutLast(dir)
	groupDir, artifact := hub.CutLast(artifactDir)
	group := strings.ReplaceAll(strings.TrimPrefix(groupDir, "/"), "/", ".")
	base, snapshot := strings.CutSuffix(version, "-SNAPSHOT")
	listing := file == metadataName || strings.HasPrefix(file, metadataName+".")
	if group == "" || listing && !snapshot {
		return placed{ttl: metadataTTL}
	}
	p := placed{ttl: metadataTTL, pkg: group + ":" + artifact, version: version}
	rest, own := strings.CutPrefix(file, artifact+"-"+base)
	if snapshot {
		p.ttl = snapshotTTL
		own = own && timestamp.MatchString(rest)
	} else {
		own = own && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "-") && strings.Contains(rest, "."))
	}
	if own {
		p.class = freshness.Immutable
	}
	return p
}

// timestamp is what is behind the name of a file of a snapshot that was published,
// and before the rest of it: -YYYYMMDD.HHMMSS-N.
var timestamp = regexp.MustCompile(`^-[0-9]{8}\.[0-9]{6}-[0-9]+[.-]`)

// Spell is group:artifact, or a pattern of such names or of groups, as a path has it.
func Spell(name string) string {
	group, artifact, named := strings.Cut(name, ":")
	group = strings.ReplaceAll(group, ".", "/")
	if !named {
		return group
	}
	return group + "/" + artifact
}

// Index is the metadata of the artifact. That of a snapshot lists files, not
// versions, and is one repository's.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	switch {
	case req.Package != "":
		return hub.IndexAt(h, req, "/"+Spell(req.Package)+"/"+metadataName)
	case strings.HasSuffix(req.Key.Path, "/"+metadataName):
		return req
	}
	return nil
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
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		of, algorithm := cutSide(req.Key.Path)
		switch {
		case req.Head:
			return next.Get(ctx, req)
		case algorithm != "":
			return h.checked(ctx, next, req, of, algorithm)
		case strings.HasSuffix(of, "/"+metadataName):
			return h.metadata(ctx, next, cached, req)
		}
		return next.Get(ctx, req)
	})
}
