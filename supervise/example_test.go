package supervise_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/supervise"
)

// printer is a keeper that says what it is asked for.
type printer struct {
	supervise.Keeper

	started chan struct{}
}

func (printer) Put(_ context.Context, spec keeperwire.Spec) error {
	fmt.Println("put", spec.Argv, "grace", spec.GraceMS)
	return nil
}

func (printer) SetNote(context.Context, string, []byte) error { return nil }

func (p printer) Start(context.Context, string) error {
	fmt.Println("start")
	close(p.started)
	return nil
}

// plain resolves what leaves nothing open.
type plain struct{ supervise.Resolver }

func (plain) Spec(rel backstay.Release, id string, _ map[string]uint16) (keeperwire.Spec, error) {
	return keeperwire.Spec{ID: id, Argv: rel.Exec.Argv, Dir: rel.Exec.Dir}, nil
}

type anyPort struct{}

func (anyPort) Free(uint16) bool { return true }

// nowhere is a registry that nobody reads.
type nowhere struct{ supervise.Registry }

func (nowhere) Set(supervise.Endpoint) {}

func Example() {
	keeper := printer{started: make(chan struct{})}
	s := supervise.New(supervise.Options{
		Keeper: keeper, Resolver: plain{}, Ports: anyPort{}, Registry: nowhere{}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, func() {}) }()

	var shop supervise.Service
	shop.SetDefaults()
	_ = s.Apply(ctx, map[string]supervise.Service{"shop": shop})
	_, _ = s.Start(ctx, backstay.Release{Service: "shop", Seq: 1, Exec: backstay.Exec{Argv: []string{"/srv/shop"}, Dir: "/"}})
	<-keeper.started
	fmt.Println(s.Instances()[0].State)
	cancel()
	<-ended
	// Output:
	// put [/srv/shop] grace 10000
	// start
	// starting
}
