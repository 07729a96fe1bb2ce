package nearest_test

import (
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/nearest"
)

// A guess is made where it helps and not where it misleads.
func TestOf(t *testing.T) {
	known := []string{"shop", "shop-7f3a9c", "status", "start", "stop"}
	for name, want := range map[string]string{
		"shp": "shop", "statsu": "status", "shop-7f3a9": "shop-7f3a9c", "stopp": "stop", "stauts": "status",
		"x": "", "nginx": "", "": "", strings.Repeat("s", 1000): "",
	} {
		if got := nearest.Of(name, known); got != want {
			t.Errorf("Of(%q) = %q, want %q", name, got, want)
		}
	}
}
