package pub

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

var _ hub.Dater = (*Hub)(nil)

// Published is what the listing says in "published", which the specification does not
// ask for.
func (h *Hub) Published(ctx context.Context, next exchange.Source, req *exchange.Request) (at time.Time, err error) {
	_, _, err = h.survey(ctx, next, req, func(version string, published time.Time) bool {
		if version == req.Version {
			at = published
		}
		return false
	})
	return at, err
}

// release is the version that an element of a listing tells of, and when it was
// published; the zero time if it does not say.
func release(text []byte) (version string, published time.Time) {
	var said struct{ Version, Published string }
	_ = json.Unmarshal(text, &said) // an element that is none has no version that anybody asks for
	published, _ = time.Parse(time.RFC3339, said.Published)
	return said.Version, published
}

// survey reads the listing of the package that req is about, as upstream has it: which
// version is the latest, and the text of the last one that shows lets pass, and that is
// no prerelease if there are others. Shows is called with each.
func (h *Hub) survey(ctx context.Context, next exchange.Source, req *exchange.Request, shows func(string, time.Time) bool) (latest string, last []byte, err error) {
	index := h.Index(req)
	if index == nil {
		return "", nil, nil
	}
	stable := false
	err = hub.Skim(ctx, next, index, map[string]func(string, []byte) []byte{
		"latest": func(field string, text []byte) []byte {
			if field == "version" {
				latest, _ = hub.JSONString(text)
			}
			return nil
		},
		"versions": func(_ string, text []byte) []byte {
			version, published := release(text)
			if isStable := !strings.Contains(version, "-"); shows(version, published) && (isStable || !stable) {
				last, stable = bytes.Clone(text), isStable
			}
			return nil
		},
	})
	return latest, last, err
}

// sift shows of a listing what req's sieve does. A latest that is not
// shown becomes the last version which is.
func (h *Hub) sift(next exchange.Source, req *exchange.Request) hub.Sift {
	return func(ctx context.Context, dst io.Writer, src io.Reader) error {
		shown := map[string]bool{}
		latest, last, err := h.survey(ctx, next, req, func(version string, published time.Time) bool {
			shown[version] = req.Sieve.Shows(version, published)
			return shown[version]
		})
		if err != nil {
			return err
		}
		rules := map[string]func(string, []byte) []byte{"versions": func(_ string, text []byte) []byte {
			if version, _ := release(text); !shown[version] {
				return nil
			}
			return text
		}}
		if !shown[latest] {
			instead, err := h.fields(last, req.Client.Base)
			if err != nil {
				return err
			}
			rules["latest"] = func(field string, _ []byte) []byte { return instead[field] }
		}
		return hub.SiftJSON(dst, src, rules)
	}
}

// fields are those of a version's element, its archive led to the hub; none of nil.
func (h *Hub) fields(text []byte, base string) (fields map[string]json.RawMessage, err error) {
	if text == nil {
		return nil, nil
	}
	var led bytes.Buffer // it is like the listing of one version
	if err := h.copy(&led, bytes.NewReader(text), hub.NewCopy(h.links, base, nil, nil)); err != nil {
		return nil, err
	}
	err = json.Unmarshal(led.Bytes(), &fields)
	return fields, err
}
