package daemon

import (
	"fmt"
	"net"
	"testing"
)

// occupy has somebody else listen at a port.
func occupy(t *testing.T, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}
