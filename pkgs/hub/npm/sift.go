package npm

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Dater = (*Hub)(nil)

// Published is what the packument says in "time"; of a tag, of the version that it
// means.
func (h *Hub) Published(ctx context.Context, next exchange.Source, req *exchange.Request) (time.Time, error) {
	s, err := h.survey(ctx, next, req, true)
	if err != nil {
		return time.Time{}, err
	}
	version := req.Version
	if _, ok := s.times[version]; !ok && s.tags[version] != "" {
		version = s.tags[version]
	}
	return s.times[version], nil
}

// A survey is what a packument says of all versions.
type survey struct {
	versions []string
	times    map[string]time.Time
	tags     map[string]string
}

// survey reads the packument that req is about. Dates are in the full one alone.
func (h *Hub) survey(ctx context.Context, next exchange.Source, req *exchange.Request, full bool) (*survey, error) {
	ask := h.packumentOf(req, false)
	if !full && req.Key.Path == ask.Key.Path {
		ask.Key.Variant, ask.Header, ask.Target = req.Key.Variant, req.Header, req.Target
	}
	s := &survey{times: map[string]time.Time{}, tags: map[string]string{}}
	if err := hub.Skim(ctx, next, ask, s.rules()); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *survey) rules() map[string]func(string, []byte) []byte {
	return map[string]func(string, []byte) []byte{
		"versions": func(version string, _ []byte) []byte {
			s.versions = append(s.versions, version)
			return nil
		},
		"time": func(version string, text []byte) []byte {
			if v, ok := hub.JSONBytes(text); ok {
				if at, err := time.Parse(time.RFC3339, string(v)); err == nil {
					s.times[version] = at
				}
			}
			return nil
		},
		"dist-tags": func(tag string, text []byte) []byte {
			if v, ok := hub.JSONBytes(text); ok {
				s.tags[tag] = string(v)
			}
			return nil
		},
	}
}

// sift shows of a packument what req's sieve does. The tag latest
// of a version that is not shown is that of the highest one which is, and is no
// prerelease; other such tags are not there.
func (h *Hub) sift(next exchange.Source, req *exchange.Request) hub.Sift {
	return func(ctx context.Context, dst io.Writer, src io.Reader) error {
		s, err := h.survey(ctx, next, req, req.Sieve.Dates)
		if err != nil {
			return err
		}
		shows := func(version string) bool { return req.Sieve.Shows(version, s.times[version]) }
		highest := ""
		for _, v := range s.versions {
			if shows(v) && !strings.Contains(v, "-") && (highest == "" || higher(v, highest)) {
				highest = v
			}
		}
		only := func(version string, text []byte) []byte {
			if !shows(version) {
				return nil
			}
			return text
		}
		return hub.SiftJSON(dst, src, map[string]func(string, []byte) []byte{
			"versions": only,
			"time": func(version string, text []byte) []byte {
				if version == "created" || version == "modified" {
					return text
				}
				return only(version, text)
			},
			"dist-tags": func(tag string, text []byte) []byte {
				switch v, _ := hub.JSONBytes(text); {
				case shows(string(v)):
					return text
				case tag == "latest" && highest != "":
					return hub.AppendJSONString(nil, []byte(highest))
				}
				return nil
			},
		})
	}
}

// higher reports whether release a comes after b (semver.org, §11).
func higher(a, b string) bool {
	x, y := release(a), release(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] > y[i]
		}
	}
	return false
}

// release are the three numbers of a version.
func release(version string) (n [3]uint64) {
	version, _, _ = strings.Cut(version, "+")
	for i := range n {
		var part string
		part, version, _ = strings.Cut(version, ".")
		n[i], _ = strconv.ParseUint(part, 10, 64)
	}
	return n
}
