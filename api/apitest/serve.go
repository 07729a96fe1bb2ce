package apitest

import (
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/api"
)

// Serve serves b on a socket that lives as long as its test, for a client that
// the agent takes for who.
func Serve(tb testing.TB, b api.Backend, who api.Actor) (socket string) {
	tb.Helper()
	socket = filepath.Join(tb.TempDir(), "api.sock")
	ServeAt(tb, b, who, socket)
	return socket
}

// ServeAt is [Serve] at a socket of a name that is chosen.
func ServeAt(tb testing.TB, b api.Backend, who api.Actor, socket string) (stop func()) {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	s := api.NewServer(b, api.Options{
		Log: slog.New(slog.DiscardHandler), Owner: 1000,
		Peer: func(net.Conn) (api.Actor, error) { return who, nil },
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(api.Listener(l)) // ends with Close
	}()
	stop = func() {
		_ = s.Close()
		<-done
	}
	tb.Cleanup(stop)
	return stop
}
