package deploy

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/statefile"
)

// A record may hold anything: a disk, a hand or a younger program has been at
// it. It is read or refused, and whatever is read can be planned from: Plan is
// total, and settles.
func FuzzRecord(f *testing.F) {
	text, err := os.ReadFile("testdata/state-v1/deploys/shop.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, 3)
	for _, state := range []State{Rolling, Finishing, Paused, RollingBack, Done, Stuck, Superseded, "no such state"} {
		for _, kind := range []Kind{First, Roll, Restart, Rollback} {
			r := record{Head: statefile.Head{Backstay: "deploys", V: 1}, Service: "shop", Current: 1, Deploys: []Deploy{{
				ID: "shop-d1", Service: "shop", Kind: kind, From: 1, To: 2, State: state, Away: []string{"shop-000001"},
				Members: []Member{{ID: "shop-000002", Dead: -1}}, Served: -7,
			}}}
			text, err := json.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, 2)
		}
	}
	f.Add([]byte(`{"backstay":"deploys","v":2}`), 0)
	f.Fuzz(func(t *testing.T, text []byte, replicas int) {
		var r record
		if recordFormat.Decode(text, &r) != nil {
			return
		}
		v := View{Now: dawn, Service: "shop", Replicas: max(replicas, 0) % 8, Current: r.Current, Deploy: r.newest()}
		v.Config.SetDefaults()
		for i, state := range []backstay.InstanceState{backstay.Running, backstay.Backoff, backstay.Draining, backstay.Stopped} {
			v.Instances = append(v.Instances, backstay.Instance{
				ID: []string{"shop-000001", "shop-000002", "shop-000003", ""}[i], Release: backstay.ReleaseID("shop", i%3),
				State: state, Ready: i == 0, Starts: i,
			})
		}
		for range 5 {
			d, steps := Plan(v)
			if n := len(steps); n > 100 {
				t.Fatalf("%d steps", n)
			}
			v.Deploy, v.Now = d, v.Now.Add(time.Hour)
		}
	})
}
