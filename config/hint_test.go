package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
)

// TestHintsLeadOn: whoever does what a hint says does not meet the next mistake.
func TestHintsLeadOn(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a command to look for": {
			"schema: 1\nservices: { a: { run: { exec: sleep 100, user: shop } } }\n",
			`try ["/PATH/sleep", "100"], with the path that command -v sleep shows`,
		},
		"no other service to wait for": {
			"schema: 1\nservices: { a: { run: { exec: [/srv/shop/v1/bin/shop], user: shop }, depends_on: { bbbbbb: ready } } }\n",
			"add it under services:",
		},
		"a file that is too large": {strings.Repeat("#", 1<<20+1), "take out what is not configuration, or split it"},
		"a user nobody can create": {
			"schema: 1\nservices: { a: { run: { exec: [/srv/shop/v1/bin/shop], user: \"no; such\" } } }\n",
			"create it with useradd --system, or correct the name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.ParseIn(newFake(0), "backstay.yaml", []byte(c.text))
			e, ok := errors.AsType[*config.Error](err)
			if !ok {
				t.Fatalf("err = %v", err)
			}
			var hints []string
			for _, f := range e.Found {
				hints = append(hints, f.Hint)
			}
			if all := strings.Join(hints, "; "); !strings.Contains(all, c.want) {
				t.Errorf("%v: hints %q, want %q", err, all, c.want)
			}
		})
	}
}
