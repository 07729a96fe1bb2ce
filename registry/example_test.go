package registry_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/backstay/backstay/registry"
)

// printer is a balancer that prints what it is told.
type printer struct{}

func (printer) Apply(_ context.Context, s registry.Snapshot) error {
	for _, e := range s.Endpoints {
		fmt.Printf("%s ready=%v drain=%v\n", e.Instance, e.Ready, e.Drain)
	}
	return nil
}

func (printer) Drain(context.Context, string, bool) error { return nil }

// An instance leaves: out of traffic, acknowledged, drained, and only then
// would it be signalled.
func ExampleRegistry_Withdraw() {
	r := registry.New(registry.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })

	r.Set(registry.Endpoint{Service: "shop", Instance: "shop-7f3a9c", Release: "shop@14", Ready: true})
	r.Join("proxy", printer{})
	_ = r.Settle(ctx)

	acks, err := r.Withdraw(ctx, "shop-7f3a9c")
	fmt.Println(acks, err)
	fmt.Println(r.Drain(ctx, "shop-7f3a9c", true))

	cancel()
	running.Wait()
	// Output:
	// shop-7f3a9c ready=true drain=false
	// shop-7f3a9c ready=true drain=true
	// 1 <nil>
	// <nil>
}
