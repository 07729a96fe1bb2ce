package daemon

import (
	"testing"

	"github.com/backstay/backstay/deploy"
)

// A restart goes to the release it came from: what requests met there is told once.
func TestARestartCountsEachRequestOnce(t *testing.T) {
	for from, want := range map[int]uint64{1: 1900, 2: 0} {
		d := deploy.Deploy{Service: "shop", From: from, To: 2, Old: deploy.Counters{Sent: 1900}, New: deploy.Counters{Sent: 1950}}
		if out := new(agent).deployOf(d); out.Old.Requests != want || out.New.Requests != 1950 {
			t.Errorf("from %d to 2: %+v and %+v, want %d", from, out.Old, out.New, want)
		}
	}
}
