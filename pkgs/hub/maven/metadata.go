package maven

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const maxMetadata = 1 << 20 // bytes of metadata that is judged; a longer one passes

// metadata is that which is not older than what was seen of it before: from the
// first mirror that has such a one. If none has, the older copy in the cache is the
// newer one.
func (h *Hub) metadata(ctx context.Context, next, cached exchange.Source, req *exchange.Request) (*exchange.Response, error) {
	return h.hub.Judged(ctx, next, req, h.newest.Judge(ctx, req, cached, maxMetadata, lastUpdated))
}

// lastUpdated is the time in metadata, YYYYMMDDHHMMSS; zero if it has none, or it is
// not all of the metadata. It needs no parser: the element has no attributes, and
// whoever hides it in a comment gains a time that is his own.
func lastUpdated(text []byte) time.Time {
	if len(text) >= maxMetadata {
		return time.Time{}
	}
	_, rest, _ := bytes.Cut(text, []byte("<lastUpdated>"))
	value, _, found := bytes.Cut(rest, []byte("</lastUpdated>"))
	t, err := time.Parse("20060102150405", strings.TrimSpace(string(value[:min(len(value), 64)])))
	if err != nil || !found {
		return time.Time{}
	}
	return t
}

// A metadata is what repositories say of an artifact, or of the plugins of a group
// (https://maven.apache.org/ref/current/maven-repository-metadata/repository-metadata.html).
type metadata struct {
	XMLName     xml.Name `xml:"metadata"`
	Model       string   `xml:"modelVersion,attr,omitempty"`
	GroupID     string   `xml:"groupId,omitempty"`
	ArtifactID  string   `xml:"artifactId,omitempty"`
	Latest      string   `xml:"versioning>latest,omitempty"`
	Release     string   `xml:"versioning>release,omitempty"`
	Versions    []string `xml:"versioning>versions>version"`
	LastUpdated string   `xml:"versioning>lastUpdated,omitempty"`
	Plugins     []plugin `xml:"plugins>plugin"`
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
		} else {
			all.add(&m)
		}
	}
	text, err := xml.MarshalIndent(&all, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(dst, "%s%s", xml.Header, text)
	}
	return err
}

// add adds what m does not have.
func (m *metadata) add(other *metadata) {
	if other.LastUpdated > m.LastUpdated || m.LastUpdated == "" && m.Versions == nil {
		m.Latest, m.Release, m.LastUpdated = cmp.Or(other.Latest, m.Latest), cmp.Or(other.Release, m.Release), other.LastUpdated
	}
	for _, version := range other.Versions {
		if !slices.Contains(m.Versions, version) {
			m.Versions = append(m.Versions, version)
		}
	}
	for _, p := range other.Plugins {
		if !slices.ContainsFunc(m.Plugins, func(q plugin) bool { return q.Prefix == p.Prefix }) {
			m.Plugins = append(m.Plugins, p)
		}
	}
}
