package config_test

import (
	"fmt"

	"github.com/backstay/backstay/config"
)

// A file is refused with every mistake in it, each with what would do.
func ExampleParseIn() {
	_, err := config.ParseIn(nil, "backstay.yaml", []byte(`schema: 1
services:
  shop:
    run: { exec: /srv/shop/bin/shop --listen :80, user: shop }
    replica: 3
    stop: { grace: 30 }
`))
	fmt.Println(err)
	// Output:
	// backstay.yaml:4:18: services.shop.run.exec: is a shell string; a command is its arguments, one by one
	//     4 |     run: { exec: /srv/shop/bin/shop --listen :80, user: shop }
	//       |                  ^ try ["/srv/shop/bin/shop", "--listen", ":80"]
	// backstay.yaml:5:5: services.shop.replica: unknown key
	//     5 |     replica: 3
	//       |     ^ did you mean replicas?
	// backstay.yaml:6:20: services.shop.stop.grace: 30 has no unit
	//     6 |     stop: { grace: 30 }
	//       |                    ^ try 30s
}

// A change says whether it is in place, and what requests notice.
func ExampleDiff() {
	file := func(version string, grace string) *config.File {
		f, err := config.ParseIn(nil, "backstay.yaml", []byte(`schema: 1
services:
  shop:
    version: `+version+`
    run: { exec: ["/srv/shop/${version}/bin/shop"], user: shop }
    ports: { http: auto }
    replicas: 3
    stop: { grace: `+grace+` }
`))
		if err != nil {
			panic(err)
		}
		return f
	}
	for _, c := range config.Diff(file("v1", "10s"), file("v2", "30s")) {
		fmt.Println(c)
	}
	// Output:
	// shop: version v1 → v2 (roll): rolls 3 instances, 1 more at a time, each old one drained first; no request is lost
	// shop: stop.grace 10s → 30s (live)
}
