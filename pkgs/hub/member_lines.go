package hub

import (
	"bytes"
	"fmt"
)

// maxPartLine is how long a line of an index may be that is merged, in bytes.
const maxPartLine = 1 << 20

// PartLines is for a Merge of indexes that are lines: it calls f with each line that
// is not blank, without blanks around, of one part after the other. The line is valid
// until f returns, and may be appended to. An error names the part.
func PartLines(parts []Part, f func(line []byte) error) error {
	for _, p := range parts {
		err := Lines(p.Body, maxPartLine, func(line []byte) error {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				return nil
			}
			return f(line[:len(line):len(line)])
		})
		if err != nil {
			return fmt.Errorf("the index of %s: %w", p.Entry.Mirror, err)
		}
	}
	return nil
}
