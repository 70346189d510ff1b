package gomod

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/semver"
)

func TestCheckInfo(t *testing.T) {
	const good = `{"Version":"v1.0.0","Time":"2026-01-02T03:04:05Z","Origin":{"VCS":"git"}}`
	for _, c := range []struct{ name, text, version, err string }{
		{"canonical", good, "v1.0.0", ""},
		{"the latest", good, "", ""},
		{"a branch", good, "main", ""},
		{"a version in short", good, "v1", ""},
		{"another version", good, "v1.0.1", "it is of version v1.0.0"},
		{"none", `{}`, "v1.0.0", "it has no version"},
		{"no version", `{"Version":"main"}`, "main", "it has no version"},
		{"a page", `<html>`, "v1.0.0", "invalid character"},
		{"cut", good[:20], "v1.0.0", "unexpected end"},
		{"nothing", "", "", "unexpected end"},
		{"without end", good + strings.Repeat(" ", maxInfo), "v1.0.0", "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkInfo([]byte(c.text), c.version)
			if c.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
		})
	}
}

func FuzzCheckInfo(f *testing.F) {
	f.Add([]byte(`{"Version":"v1.0.0"}`), "v1.0.0")
	f.Add([]byte(`{"version":"v1.0.0","Version":"v2.0.0+x"}`), "main")
	f.Add([]byte("[]"), "")
	f.Fuzz(func(t *testing.T, text []byte, version string) {
		if checkInfo(text, version) == nil && semver.Canonical(version) == version && version != "" {
			require.Contains(t, string(text), version[:2], "of that version")
		}
	})
}
