package upstream

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContestsAreTold(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    string
		mirrors int
		want    []Rival // without the mirrors' names
	}{
		{"who is a little later is waited for", Adaptive, 3, []Rival{{Ending: "good", Behind: 30 * time.Millisecond, Answered: true}, {Ending: "absent", Behind: -10 * time.Millisecond, Answered: true}}},
		{"all at once: the others are given up", All, 2, []Rival{{Ending: "outrun"}}},
		{"alone there is no race", Adaptive, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []Contest
				mirrors := []http.HandlerFunc{
					late(20*time.Millisecond, says(200, "quick")),
					late(50*time.Millisecond, says(200, "slow")),
					late(10*time.Millisecond, says(404, "nothing")),
				}[:c.mirrors]
				g := bubble(t, Options{Race: Race{Mode: c.mode, Width: 3}, Raced: func(c Contest) { told = append(told, c) }}, mirrors...)
				_, text := get(t, g, request("/a"))
				require.Equal(t, "quick", text)
				synctest.Wait()
				time.Sleep(2 * grace)
				synctest.Wait()
				if c.want == nil {
					assert.Empty(t, told)
					return
				}
				require.Len(t, told, 1)
				assert.Equal(t, "/a", told[0].Key.Path)
				assert.Equal(t, 20*time.Millisecond, told[0].Took)
				assert.Contains(t, told[0].Winner, "//")
				for i := range told[0].Rivals {
					assert.NotEqual(t, told[0].Winner, told[0].Rivals[i].Mirror)
					told[0].Rivals[i].Mirror = ""
				}
				assert.Equal(t, c.want, told[0].Rivals)
			})
		})
	}
}
