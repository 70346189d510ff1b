package welcome

import (
	"fmt"
	"html"
	"strings"
)

// An address is what clients reach the proxy by, as they spell it.
type address struct {
	base     string // as Page has it
	host     string // base without its scheme
	name     string // host and port alone
	insecure bool   // it is not https
}

func reach(base string) address {
	_, host, _ := strings.Cut(base, "://")
	name, _, _ := strings.Cut(host, "/")
	return address{base: base, host: host, name: name, insecure: !strings.HasPrefix(base, "https://")}
}

// shell is a paste of lines for a shell.
func shell(where string, lines ...string) paste {
	return paste{where, strings.Join(lines, "\n")}
}

// word is s as one word of a shell.
func word(s string) string {
	if plain(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoted is s as a string of JSON, TOML, HCL and R, which a URL is alike in.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

// markup is s as text or an attribute of XML.
func markup(s string) string { return html.EscapeString(s) }
