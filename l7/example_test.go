package l7_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// A proxy with one frontend before two instances of a service, one of which is
// then drained.
func Example() {
	server := func(name string) (l7.Server, func()) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello from "+name)
		}))
		at := netip.MustParseAddrPort(s.Listener.Addr().String())
		return l7.Server{
			ID: name, Release: "shop@1", Address: at.Addr().String(),
			Ports: map[string]uint16{"http": at.Port()}, Ready: true,
		}, s.Close
	}
	one, closeOne := server("shop-000001")
	defer closeOne()
	two, closeTwo := server("shop-000002")
	defer closeTwo()

	front := l7.Frontend{}
	front.SetDefaults()
	front.Bind = []string{":8080"} // a name here: the listener is handed in
	route := l7.Route{}
	route.SetDefaults()
	route.To = "shop"
	front.Routes = []l7.Route{route}
	pool := backstay.Pool{}
	pool.SetDefaults()
	snapshot := l7.Snapshot{
		Backstay: "l7 snapshot", V: l7.SnapshotVersion, Gen: 1,
		Frontends: map[string]l7.Frontend{"web": front},
		Pools:     map[string]l7.Pool{"shop": {Pool: pool, Servers: []l7.Server{one, two}}},
	}

	p := l7.New(l7.Options{Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	p.SetListener(":8080", l)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx, func() {}) }()
	if err := p.Apply(ctx, snapshot); err != nil {
		fmt.Println(err)
	}

	two.Drain = true
	snapshot.Gen++
	snapshot.Pools = map[string]l7.Pool{"shop": {Pool: pool, Servers: []l7.Server{one, two}}}
	if err := p.Apply(ctx, snapshot); err != nil { // no request goes to two from here on
		fmt.Println(err)
	}
	if err := p.Drain(ctx, two.ID, false); err != nil { // and nothing is left there
		fmt.Println(err)
	}
	if resp, err := http.Get("http://" + l.Addr().String() + "/"); err == nil {
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(string(body))
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	<-ended
	// Output: hello from shop-000001
}
