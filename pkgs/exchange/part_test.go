package exchange

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPart(t *testing.T) {
	for _, test := range []struct {
		name    string
		have    []Span
		missing []Span
		invalid bool
	}{
		{name: "nothing", missing: []Span{{0, 10}}},
		{name: "the beginning", have: []Span{{0, 4}}, missing: []Span{{4, 10}}},
		{name: "the end", have: []Span{{4, 10}}, missing: []Span{{0, 4}}},
		{name: "holes", have: []Span{{1, 2}, {4, 6}}, missing: []Span{{0, 1}, {2, 4}, {6, 10}}},
		{name: "all", have: []Span{{0, 10}}},
		{name: "empty span", have: []Span{{3, 3}}, invalid: true},
		{name: "not apart", have: []Span{{0, 3}, {3, 5}}, invalid: true},
		{name: "not sorted", have: []Span{{5, 6}, {1, 2}}, invalid: true},
		{name: "negative", have: []Span{{-1, 2}}, invalid: true},
		{name: "beyond the end", have: []Span{{5, 11}}, invalid: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Part{Entry: &Entry{Size: 10}, Have: test.have}
			assert.Equal(t, !test.invalid, p.Valid())
			if !test.invalid {
				assert.Equal(t, test.missing, p.Missing())
			}
		})
	}
	assert.False(t, (&Part{}).Valid(), "no entry")
}
