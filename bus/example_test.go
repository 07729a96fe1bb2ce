package bus_test

import (
	"fmt"
	"os"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/bus"
)

// What one process has recorded is there for the next.
func Example() {
	dir, err := os.MkdirTemp("", "events")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	log, err := bus.New(bus.Options{Dir: dir, Node: "alpha"})
	if err != nil {
		fmt.Println(err)
		return
	}
	log.Record(backstay.Event{Kind: backstay.StateChanged, Ref: "instance/shop-7f3a9c", From: "running", To: "crashed", Because: "killed by SIGKILL"})
	if err := log.Close(); err != nil {
		fmt.Println(err)
	}

	next, err := bus.New(bus.Options{Dir: dir, Node: "alpha"})
	if err != nil {
		fmt.Println(err)
		return
	}
	events, err := next.Since("")
	if err != nil {
		fmt.Println(err)
	}
	for _, e := range events {
		fmt.Printf("%s: %s → %s, %s\n", e.Ref, e.From, e.To, e.Because)
	}
	if err := next.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: instance/shop-7f3a9c: running → crashed, killed by SIGKILL
}
