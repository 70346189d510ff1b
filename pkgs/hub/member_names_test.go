package hub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func namesOf(t testing.TB, private ...string) *Members {
	m, err := NewMembers([]Member{{Name: "corp", Private: private}, {Name: "public"}}, strings.ToLower)
	require.NoError(t, err)
	return m
}

func TestSuspect(t *testing.T) {
	m := namesOf(t, "acme-*", "Solo", "a-1.0", "lib.x")
	for _, test := range []struct{ name, path, want string }{
		{"a segment", "/api/SOLO/versions", "SOLO"},
		{"a pattern", "/gems/acme-x-9.0.gem", "acme-x"},
		{"before a version", "solo-1.0-java", "solo"},
		{"before a version with v", "solo-v1.0", "solo"},
		{"before what may be one", "/a-1.0-2.gem", "a-1.0"},
		{"with an extension", "/gems/solo.json", "solo"},
		{"packed", "/gems/solo.tar.gz", "solo"},
		{"an encoded slash", "/gems%2Fsolo-1.0", "solo"},
		{"a dot", "lib.x-1", "lib.x"},
		{"another name", "/gems/solo-tools-1.0.gem", ""},
		{"a longer one", "/gems/solo.tools/x", ""},
		{"nothing before", "/gems/-1.0", ""},
		{"none", "/", ""},
		{"too long a name", "/" + strings.Repeat("-1", maxName) + "solo-1", ""},
		{"a long one that matches", "/acme-" + strings.Repeat("-1", maxName), "acme-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, m.Suspect(test.path, "-"))
		})
	}
	assert.Equal(t, "lib.x", m.Suspect("/lib.x.9.0", "."))
	assert.Empty(t, (*Members)(nil).Suspect("/solo", "-"))
	assert.Empty(t, namesOf(t).Suspect("/solo", "-"))
}

func TestSought(t *testing.T) {
	m := namesOf(t, "acme/*", "solo", "b/secret")
	for _, test := range []struct{ name, query, want string }{
		{"alone", "q=Solo&page=1", "Solo"},
		{"one of several", "gems=rails,solo", "solo"},
		{"a word", "q=a+solo+b", "solo"},
		{"encoded", "q=b%2Fsecret", "b/secret"},
		{"of a field", "q=packageid%3Asolo", "solo"},
		{"quoted", "q=%22solo%22", "solo"},
		{"a folder", "vendor=acme", "acme/"},
		{"all of a folder", "filter=acme%2F*", "acme/*"},
		{"behind a semicolon", "q=x;solo", "solo"},
		{"a bad escape", "q=%zz+solo", "solo"},
		{"no form", `["b/secret"]`, "b/secret"},
		{"another name", "q=soloist", ""},
		{"the folder of some", "q=b", ""},
		{"a field's name", "solo=1", ""},
		{"nothing", "q=&=/&", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, m.Sought(test.query))
		})
	}
	assert.Empty(t, (*Members)(nil).Sought("q=solo"))
}

// What is found is a name that is kept from others.
func FuzzMemberNames(f *testing.F) {
	f.Add("/gems/acme-x-9.0.gem")
	f.Add("q=packageid%3Asolo;%zz=b/secret")
	f.Add("/a%2fsolo.tar.gz?vendor=acme")
	m := namesOf(f, "acme/*", "acme-*", "solo", "b/secret")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{m.Suspect(text, "-."), m.Sought(text)} {
			assert.True(t, name == "" || m.Owned(name), "%q", name)
		}
	})
}
