package freshness

import (
	"net/http"
	"slices"
	"strings"
)

// maxVary is how long a Vary may be that is looked at, in bytes: what selects is
// remembered for each URI.
const maxVary = 1 << 10

// VaryFields are the request fields that a response was selected by (RFC 9110
// §12.5.5): in lower case, sorted, each once. any says that one member is "*", so
// that nothing in a request tells, or that there are too many.
func VaryFields(response http.Header) (names []string, any bool) {
	size := 0
	for _, line := range response["Vary"] {
		if size += len(line); size > maxVary {
			return nil, true
		}
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			switch {
			case name == "":
			case name == "*", !token(name): // what cannot be read may mean anything
				return nil, true
			default:
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// Selected is what a request says in a field that selects representations: two
// requests with equal ones mean the same (RFC 9111 §4.1). Lines are joined, blanks
// around commas go, and for the fields of negotiation letter case and order, as far
// as those mean nothing. present tells an absent field from an empty one.
func Selected(request http.Header, name string) (value string, present bool) {
	lines, present := request[http.CanonicalHeaderKey(name)]
	if !present {
		return "", false
	}
	members := make([]string, 0, 4)
	for _, line := range lines {
		members = splitList(members, line)
	}
	switch name {
	case "accept-language", "accept-encoding", "accept-charset":
		// Ranges, codings and charsets know no letter case (RFC 9110 §12.5), nor do their weights.
		for i, m := range members {
			members[i] = strings.ToLower(strings.NewReplacer(" ", "", "\t", "").Replace(m))
		}
		slices.Sort(members)
		members = slices.Compact(members)
	case "accept":
		slices.Sort(members)
	}
	return strings.Join(members, ","), true
}

// splitList appends the members of a list, blanks around them taken off (RFC 9110
// §5.6.1). Commas in quoted strings do not separate.
func splitList(members []string, line string) []string {
	start, quoted := 0, false
	for i := 0; i <= len(line); i++ {
		if i < len(line) {
			switch {
			case line[i] == '"':
				quoted = !quoted
			case line[i] == '\\' && quoted:
				i++
				continue
			}
			if line[i] != ',' || quoted {
				continue
			}
		}
		if i > len(line) {
			i = len(line)
		}
		if m := strings.Trim(line[start:min(i, len(line))], " \t"); m != "" {
			members = append(members, m)
		}
		start = min(i+1, len(line))
	}
	if start < len(line) { // an escape was the last byte
		if m := strings.Trim(line[start:], " \t"); m != "" {
			members = append(members, m)
		}
	}
	return members
}
