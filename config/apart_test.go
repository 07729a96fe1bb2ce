package config

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSidesDiffer: two values that differ are never shown as the same.
func TestSidesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-c]{1,30}`)
		list := rapid.Custom(func(t *rapid.T) string {
			all := rapid.SliceOfN(word, 1, 8).Draw(t, "list")
			text := "["
			for i, w := range all {
				if i > 0 {
					text += ", "
				}
				text += w
			}
			return text + "]"
		})
		value := rapid.OneOf(list, rapid.StringMatching(`[a-c]{1,200}`))
		from, to := value.Draw(t, "from"), value.Draw(t, "to")
		a, b := apart(from, to, maxShown)
		if from != to && a == b {
			t.Fatalf("%s and %s are both shown as %s", from, to, a)
		}
		if len([]rune(a)) > maxShown+1 || len([]rune(b)) > maxShown+1 {
			t.Fatalf("too long: %s, %s", a, b)
		}
	})
}
