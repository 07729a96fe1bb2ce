package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
)

// nested returns a file with a value at the key that pattern means, in names of
// its own, and that key.
func nested(pattern string) (text, key string) {
	key = strings.NewReplacer("secrets.*", "secrets.x", "*", "x", "[]", "[0]").Replace(pattern)
	var value any = "x"
	parts := strings.Split(strings.ReplaceAll(pattern, "[]", ".[]"), ".")
	for _, part := range slices.Backward(parts) {
		switch part {
		case "[]":
			value = []any{value}
		case "*":
			value = map[string]any{"x": value}
		default:
			value = map[string]any{part: value}
		}
	}
	whole, _ := value.(map[string]any)
	whole["schema"] = 1
	json, _ := json.Marshal(whole) // a mapping of JSON is one of YAML
	return string(json), key
}

// Every key of the language that is not built is refused by its own message, and
// none is ignored or taken for a mistyped one.
func TestEveryLaterKeyIsRefusedByItsOwnMessage(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, later, ok := strings.Cut(string(page), "## Not in this version")
	if !ok {
		t.Fatal("the reference has no list of them")
	}
	n := 0
	for line := range strings.Lines(config.LanguageText) {
		pattern, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		named := strings.NewReplacer("services.*", "services.NAME", "frontends.*", "frontends.NAME",
			"probes.readiness", "probes.startup", "probes.liveness", "probes.startup").Replace(pattern)
		if !strings.Contains(later, "`"+named+"`") {
			continue
		}
		n++
		text, key := nested(pattern)
		_, err := config.ParseIn(nil, "backstay.yaml", []byte(text))
		if want := fmt.Sprintf(" %s: not in this version", key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: no %q in:\n%v", pattern, want, err)
		}
	}
	if n < 90 {
		t.Errorf("only %d keys tried", n)
	}
}
