package hub_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// TestInOrder: members are asked as upstream asks them.
func TestInOrder(t *testing.T) {
	errDown, errNone := errors.New("down"), &exchange.Error{Status: 502}
	members, err := hub.NewMembers([]hub.Member{{Name: "corp", Private: []string{"acme-*"}}, {Name: "one"}, {Name: "two"}}, nil)
	require.NoError(t, err)
	for _, test := range []struct {
		name    string
		members *hub.Members
		pkg     string
		answers map[string]any // a status or an error; 404
		asked   []string
		want    any
	}{
		{"no members", nil, "x", map[string]any{"": 200}, []string{""}, 200},
		{"the first", members, "x", map[string]any{"corp": 200, "one": 200}, []string{"corp"}, 200},
		{"the last", members, "x", map[string]any{"two": 200}, []string{"corp", "one", "two"}, 200},
		{"behind an error", members, "x", map[string]any{"corp": errDown, "one": 200}, []string{"corp", "one"}, 200},
		{"nobody", members, "x", map[string]any{"corp": 410}, []string{"corp", "one", "two"}, 410},
		{"nobody for certain", members, "x", map[string]any{"one": errDown}, []string{"corp", "one", "two"}, errDown},
		{"the last error", members, "x", map[string]any{"corp": errDown, "one": errNone, "two": errNone}, []string{"corp", "one", "two"}, errNone},
		{"private", members, "acme-x", map[string]any{"one": 200}, []string{"corp"}, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			open := 0
			var asked []string
			resp, err := test.members.InOrder(&exchange.Request{Package: test.pkg}, func(member string) (*exchange.Response, error) {
				asked = append(asked, member)
				status := 404
				switch a := test.answers[member].(type) {
				case error:
					return nil, a
				case int:
					status = a
				}
				open++
				return &exchange.Response{Entry: &exchange.Entry{Status: status}, Body: closing{strings.NewReader(""), &open}}, nil
			})
			assert.Equal(t, test.asked, asked)
			if want, failed := test.want.(error); failed {
				assert.Equal(t, want, err)
				assert.Zero(t, open)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, resp.Entry.Status)
			assert.Equal(t, 1, open)
		})
	}
}
