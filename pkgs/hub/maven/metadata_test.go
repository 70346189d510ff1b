package maven

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hubtest"
)

const (
	older = `<metadata modelVersion="1.1.0"><groupId>g</groupId><artifactId>a</artifactId><versioning><latest>2-rc</latest><release>1</release>` +
		`<versions><version>1</version><version>2-rc</version></versions><lastUpdated>20260101000000</lastUpdated></versioning></metadata>`
	newer = `<metadata><groupId>g</groupId><artifactId>a</artifactId><versioning><latest>3</latest><release>3</release>` +
		`<versions><version>1</version><version>3</version></versions><lastUpdated>20260102000000</lastUpdated></versioning></metadata>`
	prefixes = `<metadata><plugins><plugin><name>X</name><prefix>x</prefix><artifactId>x-maven-plugin</artifactId></plugin></plugins></metadata>`
)

func TestMerge(t *testing.T) {
	for _, parts := range [][]string{{older, newer}, {newer, older}} {
		text, err := hubtest.Merge(&Hub{}, parts...)
		require.NoError(t, err)
		var m metadata
		require.NoError(t, xml.Unmarshal([]byte(text), &m))
		assert.ElementsMatch(t, []string{"1", "2-rc", "3"}, m.Versions)
		assert.Equal(t, "3", m.Latest)
		assert.Equal(t, "3", m.Release)
		assert.Equal(t, "20260102000000", m.LastUpdated)
		assert.Equal(t, "g", m.GroupID)
		assert.Nil(t, m.Plugins)
	}
	text, err := hubtest.Merge(&Hub{}, prefixes, older)
	require.NoError(t, err)
	assert.Contains(t, text, "<prefix>x</prefix>")
	assert.Contains(t, text, "<version>1</version>")
	text, err = hubtest.Merge(&Hub{}, prefixes, strings.ReplaceAll(strings.ReplaceAll(prefixes, "<prefix>x", "<prefix>y"), "X", "Y"))
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(text, "<plugin>"))
	_, err = hubtest.Merge(&Hub{}, older, "<html>")
	assert.Error(t, err)
}

func TestSpell(t *testing.T) {
	for name, want := range map[string]string{
		"org.acme": "org/acme", "org.acme:lib": "org/acme/lib", "org.acme:lib.x-*": "org/acme/lib.x-*", "org/acme": "org/acme",
	} {
		assert.Equal(t, want, Spell(name))
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(older, newer)
	f.Add(prefixes, older)
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := hubtest.Merge(&Hub{}, a, b)
		if err != nil {
			return
		}
		again, err := hubtest.Merge(&Hub{}, a, b)
		require.NoError(t, err)
		assert.Equal(t, text, again, "equal parts make equal bytes")
	})
}
