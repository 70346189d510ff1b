package maven

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Merger = (*Hub)(nil)

// Spell is group:artifact, or a pattern of such names or of groups, as a path has it.
func Spell(name string) string {
	group, artifact, ok := strings.Cut(name, ":")
	group = strings.ReplaceAll(group, ".", "/")
	if !ok {
		return group
	}
	return group + "/" + artifact
}

const metadataFile = "/maven-metadata.xml"

// Index is the metadata of the artifact. That of a snapshot lists files, not
// versions, and is one repository's.
func (h *Hub) Index(req *exchange.Request) *exchange.Request {
	if strings.HasSuffix(req.Key.Path, metadataFile) && req.Package == "" {
		return req
	}
	if req.Package == "" {
		return nil
	}
	p := "/" + Spell(req.Package) + metadataFile
	index := h.hub.Request(p, p, freshness.Mutable, metadataTTL)
	index.Client = req.Client
	return index
}

// A metadata is what repositories say of an artifact, or of the plugins of a group
// (https://maven.apache.org/ref/current/maven-repository-metadata/repository-metadata.html).
type metadata struct {
	XMLName    xml.Name    `xml:"metadata"`
	Model      string      `xml:"modelVersion,attr,omitempty"`
	GroupID    string      `xml:"groupId,omitempty"`
	ArtifactID string      `xml:"artifactId,omitempty"`
	Versioning *versioning `xml:"versioning"`
	Plugins    *plugins    `xml:"plugins"`
}

type versioning struct {
	Latest      string   `xml:"latest,omitempty"`
	Release     string   `xml:"release,omitempty"`
	Versions    []string `xml:"versions>version"`
	LastUpdated string   `xml:"lastUpdated,omitempty"`
}

type plugins struct {
	Plugin []plugin `xml:"plugin"`
}

type plugin struct {
	Name       string `xml:"name,omitempty"`
	Prefix     string `xml:"prefix"`
	ArtifactID string `xml:"artifactId"`
}

// Merge is the versions and plugins of all parts. The latest version and the latest
// release are those of the part that was updated last.
func (h *Hub) Merge(dst io.Writer, _ *exchange.Request, parts []hub.Part) error {
	var all metadata
	for i, p := range parts {
		var m metadata
		if err := xml.NewDecoder(p.Body).Decode(&m); err != nil {
			return fmt.Errorf("the metadata of %s: %w", p.Entry.Mirror, err)
		}
		if i == 0 {
			all = m
			continue
		}
		all.add(&m)
	}
	if _, err := io.WriteString(dst, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(dst)
	e.Indent("", "  ")
	if err := e.Encode(&all); err != nil {
		return err
	}
	return e.Close()
}

func (m *metadata) add(other *metadata) {
	switch v, o := m.Versioning, other.Versioning; {
	case o == nil:
	case v == nil:
		m.Versioning = o
	default:
		for _, version := range o.Versions {
			if !slices.Contains(v.Versions, version) {
				v.Versions = append(v.Versions, version)
			}
		}
		if o.LastUpdated > v.LastUpdated {
			v.Latest, v.Release, v.LastUpdated = or(o.Latest, v.Latest), or(o.Release, v.Release), o.LastUpdated
		}
	}
	switch v, o := m.Plugins, other.Plugins; {
	case o == nil:
	case v == nil:
		m.Plugins = o
	default:
		for _, p := range o.Plugin {
			if !slices.ContainsFunc(v.Plugin, func(q plugin) bool { return q.Prefix == p.Prefix }) {
				v.Plugin = append(v.Plugin, p)
			}
		}
	}
}

// or is a, or b if that is empty.
func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
