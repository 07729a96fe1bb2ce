package h1_test

import (
	"fmt"
	"strings"

	"github.com/backstay/backstay/l7/h1"
)

// A request goes on, written anew.
func ExampleAppendRequest() {
	came := []byte("POST http://shop.example/orders HTTP/1.1\r\nHost: ignored.example\r\nX-Forwarded-For: 10.0.0.1\r\n" +
		"Connection: keep-alive, X-Debug\r\nX-Debug: 1\r\nTransfer-Encoding: CHUNKED\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n")
	var r h1.Request
	n, err := r.Parse(came, h1.Limits{})
	if err == nil {
		err = h1.CheckBody(r.Body, came[n:])
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	out := h1.AppendRequest(nil, &r, &h1.Forward{Peer: "192.0.2.7", Proto: "https"})
	fmt.Print(strings.ReplaceAll(string(out), "\r\n", "\n"))
	// Output:
	// POST /orders HTTP/1.1
	// Host: shop.example
	// X-Forwarded-For: 192.0.2.7
	// X-Forwarded-Proto: https
	// X-Forwarded-Host: shop.example
	// Transfer-Encoding: chunked
}

// What has two readings is refused, as soon as it can be seen.
func ExampleRequest_Parse() {
	var r h1.Request
	for _, came := range []string{
		"GET / HTTP/1.1\r\nHo",
		"GET / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n",
		"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		_, err := r.Parse([]byte(came), h1.Limits{})
		fmt.Println(err)
		r.Reset()
	}
	// Output:
	// h1: message is not complete
	// h1: whitespace before the colon of a field (space_before_colon)
	// h1: both Content-Length and Transfer-Encoding (length_and_transfer_encoding)
}
