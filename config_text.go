package cacheproxy

import (
	"errors"
	"os"
	"strings"
)

// expand replaces ${NAME} and ${NAME:-default} in s by the environment's
// variables, except those without default that keep knows.
func expand(s string, keep func(name string) bool) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		name, fallback, hasFallback := strings.Cut(inner, ":-")
		if !closed || !isVariable(name) || !hasFallback && keep(name) {
			out.WriteString("${")
			s = rest
			continue
		}
		value, ok := os.LookupEnv(name)
		switch {
		case value == "" && hasFallback:
			value = fallback
		case !ok:
			return "", errors.New("environment variable " + name + " is not set")
		}
		out.WriteString(value)
		s = after
	}
}

// isVariable reports whether name may be that of a variable (POSIX.1 §8.1, lower
// case too); ${1} of a template is none.
func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// hint suggests the known name nearest to an unknown one.
func hint(unknown string, known []string) string {
	best, least := "", min(len(unknown)/2, 2+len(unknown)/8)
	for _, k := range known {
		if n := distance(strings.ReplaceAll(strings.ToLower(unknown), "_", "-"), k); n < least || n == least && best == "" {
			best, least = k, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of edits between a and b (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edit := diagonal
			if a[i] != b[j] {
				edit++
			}
			diagonal = row[j+1]
			row[j+1] = min(edit, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
