package l7

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/backstay/backstay"
)

// What is suggested in place of a value is a value that does, whatever stood there.
func TestSuggestionsAreTaken(t *testing.T) {
	for key, check := range map[string]func(m *mistakes, s string){
		"bind":         func(m *mistakes, s string) { m.bind([]string{s}) },
		"host":         func(m *mistakes, s string) { m.hosts([]string{s}) },
		"path":         func(m *mistakes, s string) { m.path(s) },
		"redirect.url": func(m *mistakes, s string) { m.redirect(&Redirect{URL: s, Status: 308}) },
	} {
		t.Run(key, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := rapid.StringOfN(rapid.SampledFrom([]rune("ab:/.*?#-108[]@% A\u00fc")), 1, 12, -1).Draw(t, "s")
				for _, found := range of(check, s) {
					if again := of(check, found.Try); found.Try != "" && len(again) > 0 {
						t.Fatalf("%v, and then %v", found, again)
					}
				}
			})
		})
	}
	if all := of((*mistakes).path, "a b"); len(all) != 1 || !strings.HasPrefix(all[0].Try, "/") {
		t.Errorf("nothing is suggested: %v", all)
	}
}

func of(check func(m *mistakes, s string), s string) []backstay.Mistake {
	var m mistakes
	check(&m, s)
	return m.Mistakes
}
