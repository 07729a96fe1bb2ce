package l7_test

import (
	"bufio"
	"bytes"
	"net"
	"testing"
)

// BenchmarkRequestOverSockets is a request over real connections, with the
// deadlines and the wakings that [BenchmarkRequest] leaves out. Client and server
// allocate nothing, so what is counted is the proxy's.
func BenchmarkRequestOverSockets(b *testing.B) {
	reply := []byte(ok("hello"))
	u := listenRaw(b, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				_, _ = c.Write(reply)
			}
		}
	})
	r := newRig(b, nil, u.addr)
	w := r.raw()
	ask, answer := []byte("GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n"), make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(ask)
		n, err := w.Read(answer)
		if err != nil || !bytes.HasSuffix(answer[:n], []byte("hello")) {
			b.Fatalf("got %q, %v", answer[:n], err)
		}
	}
}
