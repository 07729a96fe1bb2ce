package sock

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Who is in the queue of a deafened listener stays there, who comes later gets
// nowhere, and is refused once it is closed.
func TestADeafenedListenerKeepsWhoHasCome(t *testing.T) {
	for bind, dial := range map[string]string{"127.0.0.1:": "127.0.0.1", "[::1]:": "[::1]", ":": "127.0.0.1", ": by IPv6": "[::1]"} {
		t.Run(bind, func(t *testing.T) {
			bind, _, _ := strings.Cut(bind, " ")
			f, err := Listen(bind + "0")
			must(t, err)
			keepsWhoHasCome(t, f, dial)
		})
	}
}

func keepsWhoHasCome(t *testing.T, f *os.File, host string) {
	t.Helper()
	l, err := Listener(f)
	must(t, err)
	must(t, f.Close())
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	addr := host + ":" + port
	came, err := net.Dial("tcp", addr)
	must(t, err)
	defer came.Close()
	must(t, Deafen(l))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("a newcomer: %v, want nothing", err)
	}
	late := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		late <- err
	}()
	c, err := l.Accept()
	must(t, err)
	defer c.Close()
	l.Close()
	if _, err := came.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 {
		t.Errorf("who had come was not heard: %v", err)
	}
	if err := <-late; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("who came late: %v, want refused", err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
