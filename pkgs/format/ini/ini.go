// Package ini reads and changes texts of groups of keys: a line "[group]" begins a
// group, a line "key=value" is in the one before it, and one that begins with "#" or
// ";" is a comment. They are the key files of GLib (Desktop Entry Specification,
// section 3), what Python's configparser reads, without values of several lines, and
// the .PKGINFO of packages, which has no groups.
package ini

import (
	"bufio"
	"io"
	"strings"
)

// MaxLine is how long a line may be, in bytes.
const MaxLine = 256 << 10

// Read calls each with every key of a text, in its group, "" before the first, and with
// no key where a group begins. Names and values come without the blanks around them.
// An error of each's is returned.
func Read(r io.Reader, each func(group, key, value string) error) error {
	return Copy(io.Discard, r, func(group, key, value string) (string, error) { return value, each(group, key, value) })
}

// Copy is [Read] that copies the text to dst, with values as each returns them: one
// that it returns as it was stays as it stands. Where a group begins what it returns
// does not count. The ends of lines become "\n".
func Copy(dst io.Writer, src io.Reader, each func(group, key, value string) (string, error)) error {
	out, group := bufio.NewWriter(dst), ""
	lines := bufio.NewScanner(src)
	lines.Buffer(make([]byte, 0, 4<<10), MaxLine)
	for lines.Scan() {
		line := lines.Text()
		trimmed := strings.TrimSpace(line)
		key, value, isKey := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, ";"):
		case strings.HasPrefix(trimmed, "["):
			group, _, _ = strings.Cut(trimmed[1:], "]")
			if _, err := each(group, "", ""); err != nil {
				return err
			}
		case isKey:
			value = strings.TrimSpace(value)
			changed, err := each(group, strings.TrimSpace(key), value)
			if err != nil {
				return err
			}
			if changed != value {
				line = key + "=" + changed
			}
		}
		out.WriteString(line + "\n") // its errors are sticky
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}
