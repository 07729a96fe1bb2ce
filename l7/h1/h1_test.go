package h1_test

import (
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

func TestSmoke(t *testing.T) {
	var r h1.Request
	b := []byte("GET http://A.com?x HTTP/1.1\r\nHost: b.com\r\nConnection: x-a, upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\nContent_Length: 4\r\nCookie:  a \r\n\r\nrest")
	n, err := r.Parse(b, h1.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d %s", n, h1.AppendRequest(nil, &r, &h1.Forward{Peer: "1.2.3.4", Proto: "http"}))
	var a h1.Response
	b = []byte("HTTP/1.1 200\r\nX : y\r\nConnection: keep-alive\r\n\r\n")
	n, err = a.Parse(b, &r, h1.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d %s", n, h1.AppendResponse(nil, &a, &r, true))
}
