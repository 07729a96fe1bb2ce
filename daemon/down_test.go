package daemon

import (
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
)

// What is left to stop never grows on its way to nothing.
func TestDownCountsDown(t *testing.T) {
	counts := []int{2, 3, 2, 1, 1, 2, 0}
	changed := make(chan struct{})
	close(changed)
	var told []string
	count := func() int { n := counts[0]; counts = counts[1:]; return n }
	err := countDown(t.Context(), func() <-chan struct{} { return changed }, count, func(p api.Progress) error {
		told = append(told, strings.Fields(p.Text)[0])
		return nil
	})
	if got := strings.Join(told, " "); err != nil || got != "2 1 all" || len(counts) > 0 {
		t.Errorf("told %q, %v", got, err)
	}
}
