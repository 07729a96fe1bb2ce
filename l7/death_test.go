package l7_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// mortal is a server that can die as a killed process does: its port refuses,
// its connections are reset, whatever they carried.
type mortal struct {
	t    *testing.T
	addr string
	name string

	mu    sync.Mutex
	l     net.Listener
	srv   *http.Server
	conns map[net.Conn]bool
	done  chan struct{}
}

func newMortal(t *testing.T, name string) *mortal {
	t.Helper()
	m := &mortal{t: t, name: name, addr: deadAddr(t), conns: map[net.Conn]bool{}}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.t.Error(err)
		return
	}
	m.l, m.done = l, make(chan struct{})
	m.srv = &http.Server{Handler: named(m.name), ConnState: func(c net.Conn, s http.ConnState) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s == http.StateClosed {
			delete(m.conns, c)
		} else {
			m.conns[c] = true
		}
	}}
	go func(srv *http.Server, done chan struct{}) {
		_ = srv.Serve(l)
		close(done)
	}(m.srv, m.done)
}

func (m *mortal) kill() {
	m.mu.Lock()
	_ = m.l.Close()
	for c := range m.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(m.conns)
	srv, done := m.srv, m.done
	m.mu.Unlock()
	_ = srv.Close()
	<-done
}

// Instances die one after the other under load, and nobody has told the proxy:
// requests that may be sent again all succeed. No request sees two deaths: with
// attempts: 1 it would have nobody left to ask.
func TestInstancesThatDieUnderLoadCostNoRequestThatMayBeSentAgain(t *testing.T) {
	servers := []*mortal{newMortal(t, "ok"), newMortal(t, "ok"), newMortal(t, "ok")}
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Balance = backstay.RoundRobin })
	}, servers[0].addr, servers[1].addr, servers[2].addr)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	var asked, failed atomic.Int64
	var turns [20]atomic.Int64
	for n := range turns {
		wait.Go(func() {
			c := r.client()
			for ; ctx.Err() == nil; turns[n].Add(1) {
				asked.Add(1)
				resp, err := c.Get(r.url("/"))
				if err != nil {
					failed.Add(1)
					t.Log(err)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "ok" {
					failed.Add(1)
					t.Log(resp.Status, string(body), err)
				}
			}
		})
	}
	more := func() { // each client: one request that begins from here on, at least
		var before [len(turns)]int64
		for n := range turns {
			before[n] = turns[n].Load()
		}
		for n := range turns {
			eventually(t, "more requests", func() bool { return turns[n].Load() > before[n]+1 })
		}
	}
	for round := range 12 {
		i := round % len(servers)
		more()
		servers[i].kill()
		more()
		servers[i].start()
		r.edit(i, func(s *l7.Server) { s.Starts++ })
	}
	cancel()
	wait.Wait()
	if failed.Load() > 0 {
		t.Errorf("of %d requests %d failed", asked.Load(), failed.Load())
	}
	eventually(t, "nothing is in flight", func() bool { return r.proxy.Stats().Services["shop"].InFlight == 0 })
	if s := r.proxy.Stats().Services["shop"]; s.Retried == 0 {
		t.Errorf("nothing was retried: %+v", s)
	}
}
