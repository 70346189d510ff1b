package hub_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

func TestVary(t *testing.T) {
	assert.Nil(t, hub.Vary(nil, "Accept"))
	for _, tt := range []struct {
		name      string
		have      []string
		want      []string
		untouched bool
	}{
		{"none", nil, []string{"Accept"}, false},
		{"another", []string{"Accept-Encoding"}, []string{"Accept-Encoding", "Accept"}, false},
		{"there", []string{"accept-encoding, accept"}, []string{"accept-encoding, accept"}, true},
		{"all", []string{"*"}, []string{"*"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &exchange.Entry{}
			if tt.have != nil {
				e.Header = http.Header{"Vary": tt.have}
			}
			got := hub.Vary(&exchange.Response{Entry: e}, "Accept")
			assert.Equal(t, tt.want, got.Entry.Header["Vary"])
			assert.Equal(t, tt.untouched, got.Entry == e)
			assert.Equal(t, tt.have, e.Header["Vary"], "the stored entry is not changed")
		})
	}
}
