package l7

import (
	"bytes"
	"net/netip"

	"github.com/backstay/backstay/l7/h1"
)

// clientOf returns where a request comes from that addr, which is trusted, has
// passed on: the last address in X-Forwarded-For that is not trusted itself.
// What stands before it is hearsay. An entry that is no address ends the search.
func clientOf(f *front, r *h1.Request, addr netip.Addr) netip.Addr {
	client, list := addr, [][]byte(nil)
	for name, value := range r.Fields() {
		if h1.Same(name, "x-forwarded-for") {
			list = append(list, bytes.Split(value, []byte(","))...)
		}
	}
	for i := len(list) - 1; i >= 0 && f.trusts(client); i-- {
		a, err := netip.ParseAddr(string(bytes.TrimSpace(list[i])))
		if err != nil {
			break
		}
		client = a.Unmap().WithZone("")
	}
	return client
}
