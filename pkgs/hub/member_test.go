package hub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

func TestMembers(t *testing.T) {
	lower := func(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }
	m, err := NewMembers([]Member{
		{Name: "open"},
		{Name: "corp", Private: []string{"Acme_*", "@acme", "corp.example.org/*/lib"}, Shared: []string{"torch"}, Second: []string{"files"}},
		{Name: "team", Private: []string{"acme-team"}},
	}, lower)
	require.NoError(t, err)
	assert.Equal(t, []string{"open", "corp", "team"}, m.Names())
	for _, test := range []struct {
		name, pkg, path string
		owners          []int
	}{
		{"a name", "acme-x", "/simple/acme-x/", []int{1}},
		{"another spelling of it", "ACME_x", "/simple/ACME_x/", []int{1}},
		{"two owners", "acme-team", "/simple/acme-team/", []int{1, 2}},
		{"not its end", "my-acme-x", "/simple/my-acme-x/", nil},
		{"a scope", "@acme/x", "/@acme/x", []int{1}},
		{"another scope", "@acmex/x", "/@acmex/x", nil},
		{"segments", "corp.example.org/a/lib/v2", "/corp.example.org/a/lib/v2/@v/list", []int{1}},
		{"too few segments", "corp.example.org/a", "/corp.example.org/a/@v/list", nil},
		{"a path alone", "", "/acme-x/y?q=1", []int{1}},
		{"a path as it was written", "", "/Acme_x", []int{1}},
		{"the query is no path", "", "/x?acme-x", nil},
		{"nothing of it", "requests", "/simple/requests/", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.owners, m.Owners(&exchange.Request{Key: exchange.Key{Path: test.path}, Package: test.pkg}))
		})
	}
	assert.True(t, m.Private())
	assert.True(t, m.Owned("ACME_y"))
	assert.False(t, m.Owned("requests"))
	about := func(name string) *exchange.Request { return &exchange.Request{Package: name} }
	assert.False(t, m.Keeps(0, about("x")), "it has nothing private")
	assert.True(t, m.Keeps(1, about("x")))
	assert.False(t, m.Keeps(1, about("Torch")))
	assert.True(t, m.Second(1, "files"))
	assert.False(t, m.Second(0, "files"))
}

func TestNoMembers(t *testing.T) {
	var m *Members
	assert.Nil(t, m.Names())
	assert.Nil(t, m.Owners(&exchange.Request{Package: "acme-x"}))
	assert.False(t, m.Owned("acme-x"))
	assert.False(t, m.Private())
	for _, bad := range []string{"", "/", "[a", "acme-[z-"} {
		_, err := NewMembers([]Member{{Name: "m", Private: []string{bad}}}, nil)
		assert.Error(t, err, bad)
		_, err = NewMembers([]Member{{Name: "m", Shared: []string{bad}}}, nil)
		assert.Error(t, err, bad)
	}
}
