package deploy_test

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/deploy"
)

// A release of which no instance was ever good dies: the plan that sees it takes
// it out of traffic. The planner reads no clock; the caller says what time it is.
func ExamplePlan() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	v := deploy.View{Now: now, Service: "shop", Replicas: 1, Current: 13}
	v.Config.SetDefaults()
	v.Deploy = deploy.Deploy{
		ID: "shop-d2", Service: "shop", Kind: deploy.Roll, From: 13, To: 14, Strategy: "rolling", State: deploy.Rolling, Started: now,
	}
	old := backstay.Instance{ID: "shop-3fa9c1", Release: "shop@13", State: backstay.Running, Ready: true, ReadySince: now.Add(-time.Hour)}
	v.Instances = []backstay.Instance{old}

	show := func() {
		var steps []deploy.Step
		v.Deploy, steps = deploy.Plan(v)
		fmt.Println(v.Deploy.State)
		for _, s := range steps {
			if s.Do == deploy.Start || s.Do == deploy.Stop {
				fmt.Println(" ", s.Do, s.Release, s.IDs)
			}
		}
	}
	show()
	v.Now = now.Add(2 * time.Second)
	v.Instances = append(v.Instances, backstay.Instance{
		ID: "shop-9e01aa", Release: "shop@14", State: backstay.Starting, Starts: 2,
		Last: &backstay.Exit{At: v.Now, Known: true, Code: 3},
	})
	show()
	fmt.Println(v.Deploy.Reason)
	// Output:
	// rolling
	//   start 14 []
	// rolling_back
	//   stop 0 [shop-9e01aa]
	// shop-9e01aa exited 3 before it was seen ready; no instance of shop@14 was ever good
}
