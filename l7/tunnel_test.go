package l7_test

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// A server that agrees to switch may speak at once, in the same segment.
func TestWhatComesWithAnUpgradeReachesTheClient(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome, ")
		_, _ = io.Copy(c, in)
	})
	w := newRig(t, nil, u.addr).raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 101 {
		t.Fatalf("got %s", resp.Status)
	}
	w.send("thanks")
	_ = w.Conn.(*net.TCPConn).CloseWrite()
	if all, err := io.ReadAll(w.in); err != nil || string(all) != "welcome, thanks" {
		t.Errorf("came %q, %v", all, err)
	}
}
