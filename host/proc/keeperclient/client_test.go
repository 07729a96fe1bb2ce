package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/internal/keeperwire"
)

// peer is the keeper's end of a connection, played by a test.
type peer struct {
	t    *testing.T
	conn *net.UnixConn
}

// read returns the next frame and the files with it.
func (p peer) read() (keeperwire.Msg, []*os.File) {
	b, oob := make([]byte, keeperwire.MaxFrame), make([]byte, 1024)
	n, oobn, _, _, err := p.conn.ReadMsgUnix(b, oob)
	if err != nil {
		return keeperwire.Msg{}, nil
	}
	m, err := keeperwire.Decode(b[:n])
	if err != nil {
		p.t.Errorf("the client sent %q: %v", b[:n], err)
	}
	return m, sock.Files(oob[:oobn])
}

func (p peer) send(m keeperwire.Msg, fds ...int) { p.raw(m.Append(nil), fds...) }

func (p peer) raw(b []byte, fds ...int) {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := p.conn.WriteMsgUnix(b, oob, nil); err != nil {
		p.t.Logf("peer: %v", err)
	}
}

// answer answers the next request.
func (p peer) answer(m keeperwire.Msg, fds ...int) keeperwire.Msg {
	asked, _ := p.read()
	m.N = asked.N
	p.send(m, fds...)
	return asked
}

var welcome = keeperwire.Msg{Kind: keeperwire.WelcomeMsg, Welcome: &keeperwire.Welcome{Version: keeperwire.Version, Gen: 7, PID: 4242, BootID: "b"}}

// listen plays a keeper for one connection: script is called when a client has
// connected. It returns the socket.
func listen(t *testing.T, script func(peer)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		script(peer{t, conn})
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

// meet returns a client whose keeper says welcome and then does as script says.
func meet(t *testing.T, script func(peer)) *Client {
	t.Helper()
	c, err := Dial(t.Context(), Options{Socket: listen(t, func(p peer) {
		p.answer(welcome)
		script(p)
		_, _ = io.Copy(io.Discard, p.conn) // until the client has closed
	})})
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func TestDialToWhatIsNoKeeper(t *testing.T) {
	if _, err := Dial(t.Context(), Options{Socket: filepath.Join(t.TempDir(), "sock")}); err == nil {
		t.Error("nobody listens, and there is a client")
	}
	old := keeperwire.Msg{Kind: keeperwire.WelcomeMsg, Welcome: &keeperwire.Welcome{Version: 0x0203}}
	for name, c := range map[string]struct {
		script func(peer)
		want   string
	}{
		"closes at once":      {func(peer) {}, "gone"},
		"closes after hello":  {func(p peer) { p.read() }, "gone"},
		"another major":       {func(p peer) { p.answer(old); p.read() }, "speaks version 2.3 and this program 1.0"},
		"welcome of nothing":  {func(p peer) { p.answer(keeperwire.Msg{Kind: keeperwire.WelcomeMsg}); p.read() }, "welcome is empty"},
		"refuses":             {func(p peer) { p.answer(keeperwire.Msg{Kind: keeperwire.Err, Code: "busy", Text: "full"}); p.read() }, "busy: full"},
		"answers wrong kind":  {func(p peer) { p.answer(keeperwire.Msg{Kind: keeperwire.OK}); p.read() }, "of kind"},
		"speaks HTTP":         {func(p peer) { p.raw([]byte("HTTP/1.1 400 Bad Request\r\n")); p.read(); p.read() }, "malformed"},
		"one byte":            {func(p peer) { p.raw([]byte{1}); p.read(); p.read() }, "malformed"},
		"longer than allowed": {func(p peer) { p.raw(make([]byte, keeperwire.MaxFrame+100)); p.read(); p.read() }, "longer than the wire allows"},
		"event nobody wants":  {func(p peer) { p.send(event(1)); p.read(); p.read() }, "nobody asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), Options{Socket: listen(t, c.script)})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "reach keeper") {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

// A frozen keeper accepts, because its kernel does: no answer ever comes.
func TestSilentKeeperHoldsNobody(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrSilent)
	defer cancel()
	silent := listen(t, func(p peer) { _, _ = io.Copy(io.Discard, p.conn) })
	if _, err := Dial(ctx, Options{Socket: silent}); !errors.Is(err, ErrSilent) {
		t.Errorf("dial: %v", err)
	}
	c := meet(t, func(peer) {})
	asking, giveUp := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, giveUp)
	if err := c.Beat(asking); !errors.Is(err, context.Canceled) {
		t.Errorf("beat: %v", err)
	}
	if c.Err() != nil {
		t.Errorf("the connection is ended by a caller's impatience: %v", c.Err())
	}
}

// A keeper that reads nothing fills the socket: who writes then is let go too,
// and the connection still works when it reads again.
func TestFrozenKeeperHoldsNoWriter(t *testing.T) {
	thaw := make(chan struct{})
	c := meet(t, func(p peer) {
		<-thaw
		for {
			m, _ := p.read()
			if m.Kind == 0 {
				return
			}
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	var all sync.WaitGroup
	for range 50 { // 50 × 4 KiB × … fill any socket buffer
		all.Go(func() {
			for ctx.Err() == nil {
				asking, stop := context.WithTimeout(ctx, time.Millisecond)
				_ = c.SetNote(asking, strings.Repeat("x", 4096), nil)
				stop()
			}
		})
	}
	all.Wait()
	close(thaw)
	if err := c.Beat(t.Context()); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}

func TestAnswersFindTheirRequests(t *testing.T) {
	const n = 200
	c := meet(t, func(p peer) {
		var asked []keeperwire.Msg
		for range n {
			m, _ := p.read()
			asked = append(asked, m)
		}
		p.send(keeperwire.Msg{Kind: keeperwire.OK, N: 999_999}) // nobody's
		for _, m := range slices.Backward(asked) {
			p.send(keeperwire.Msg{Kind: keeperwire.Err, N: m.N, Code: "refused", Text: m.ID})
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N}) // twice
		}
	})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			err := c.Start(t.Context(), fmt.Sprintf("shop-%d", i))
			var refusal *keeperwire.Msg
			if !errors.As(err, &refusal) || refusal.Code != "refused" || refusal.Text != fmt.Sprintf("shop-%d", i) {
				t.Errorf("shop-%d: %v", i, err)
			}
		})
	}
	all.Wait()
	if len(c.calls) > 0 {
		t.Errorf("%d requests are never forgotten", len(c.calls))
	}
}

func TestKeeperThatDiesInMidAnswerFailsAllAtOnce(t *testing.T) {
	c := meet(t, func(p peer) {
		p.read()
		m, _ := p.read()
		p.send(keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N, Slot: &keeperwire.Slot{ID: "shop-1"}})
		_ = p.conn.Close()
	})
	errs := make(chan error, 2)
	go func() { errs <- c.Beat(t.Context()) }()
	go func() {
		slots, err := c.List(t.Context())
		if len(slots) > 0 {
			t.Errorf("half a list: %v", slots)
		}
		errs <- err
	}()
	for range 2 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("%v", err)
		}
	}
	<-c.Done()
	if err := c.Beat(t.Context()); err == nil || c.Err() == nil {
		t.Errorf("after the end: %v, %v", err, c.Err())
	}
}

func TestListIsWholeAndBounded(t *testing.T) {
	c := meet(t, func(p peer) {
		m, _ := p.read()
		for i := range 1000 {
			p.send(keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N, Slot: &keeperwire.Slot{ID: fmt.Sprintf("shop-%d", i)}})
		}
		p.send(keeperwire.Msg{Kind: keeperwire.End, N: m.N})
		m, _ = p.read()
		p.send(keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N}) // a slot without a slot
	})
	slots, err := c.List(t.Context())
	if err != nil || len(slots) != 1000 || slots[999].ID != "shop-999" {
		t.Errorf("%d slots, %v", len(slots), err)
	}
	if _, err := c.List(t.Context()); !errors.Is(err, keeperwire.ErrMalformed) {
		t.Errorf("empty slot: %v", err)
	}
}

func TestWhatFitsNoFrameIsNotSent(t *testing.T) {
	c := meet(t, func(p peer) { p.answer(keeperwire.Msg{Kind: keeperwire.OK}) })
	err := c.Put(t.Context(), keeperwire.Spec{ID: "shop-1", Env: []string{strings.Repeat("x", keeperwire.MaxFrame)}})
	if err == nil || !strings.Contains(err.Error(), "a frame 65536 at most") {
		t.Errorf("%v", err)
	}
	must(t, c.Beat(t.Context()))
}

// pipes returns n files and a check that no copy of any is left open.
func pipes(t *testing.T, n int) (fds []int, closed func(what string)) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	for range n {
		fd, err := unix.Dup(int(w.Fd()))
		must(t, err)
		fds = append(fds, fd)
	}
	must(t, w.Close())
	return fds, func(what string) {
		t.Helper()
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		must(t, r.SetReadDeadline(time.Now().Add(10*time.Second)))
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: a file that nobody asked for stays open: %v", what, err)
		}
	}
}

func TestFilesThatNobodyAskedForAreClosed(t *testing.T) {
	for name, script := range map[string]func(p peer, m keeperwire.Msg, f []int){
		"with an OK": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, f[0])
		},
		"with an error": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.Err, N: m.N}, f[0])
		},
		"several": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, f[:5]...)
		},
		"with no request": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: 77}, f[0])
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
		},
		"with a slot": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N, Slot: &keeperwire.Slot{}}, f[0])
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
		},
		"with nonsense": func(p peer, _ keeperwire.Msg, f []int) { p.raw([]byte("x"), f[0]) },
		"more than fit": func(p peer, m keeperwire.Msg, f []int) {
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, f...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, closed := pipes(t, 40)
			c := meet(t, func(p peer) { m, _ := p.read(); script(p, m, files) })
			_ = c.Beat(t.Context())
			closed(name)
		})
	}
}

func TestFileThatIsAskedForComesOrIsAnError(t *testing.T) {
	files, closed := pipes(t, 3)
	c := meet(t, func(p peer) {
		p.answer(keeperwire.Msg{Kind: keeperwire.OK}, files[0])
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		p.answer(keeperwire.Msg{Kind: keeperwire.OK}, files[0], files[1])
		p.answer(keeperwire.Msg{Kind: keeperwire.Err, Code: "no_fd", Text: "nothing is called http"}, files[2])
	})
	f, err := c.GetFD(t.Context(), "http")
	must(t, err)
	must(t, f.Close())
	for _, want := range []string{"no file came", "no file came", "no_fd: nothing is called http"} {
		if _, err := c.PidFD(t.Context(), "shop-1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	closed("asked for")
}

// A file whose asker has given up when it comes is closed.
func TestLateFileIsClosed(t *testing.T) {
	files, closed := pipes(t, 1)
	ctx, giveUp := context.WithCancel(t.Context())
	c := meet(t, func(p peer) {
		m, _ := p.read()
		giveUp()
		p.read() // the beat: by now the first has given up
		p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, files[0])
		p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N + 1})
	})
	if _, err := c.GetFD(ctx, "http"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	must(t, c.Beat(t.Context()))
	closed("late")
}

func TestFileGoesOverWithItsName(t *testing.T) {
	got := make(chan string, 2)
	c := meet(t, func(p peer) {
		m, files := p.read()
		for _, f := range files {
			_, _ = io.WriteString(f, m.Name)
			_ = f.Close()
		}
		got <- fmt.Sprint(len(files))
		p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
		p.answer(keeperwire.Msg{Kind: keeperwire.OK, Text: "api\nbind=%3A8080"})
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
	})
	r, w, err := os.Pipe()
	must(t, err)
	must(t, c.PutFD(t.Context(), "bind=%3A8080", w))
	must(t, w.Close())
	text, err := io.ReadAll(r)
	if err != nil || string(text) != "bind=%3A8080" || <-got != "1" {
		t.Errorf("%q, %v", text, err)
	}
	names, err := c.ListFDs(t.Context())
	if err != nil || !slices.Equal(names, []string{"api", "bind=%3A8080"}) {
		t.Errorf("%q, %v", names, err)
	}
	names, err = c.ListFDs(t.Context())
	if err != nil || len(names) > 0 {
		t.Errorf("%q, %v", names, err)
	}
	if err := c.PutFD(t.Context(), "x", nil); err == nil {
		t.Error("no file was taken for one")
	}
}

// Each request says on the wire what its name says.
func TestRequestsOnTheWire(t *testing.T) {
	asked := make(chan keeperwire.Msg, 1)
	c := meet(t, func(p peer) {
		for {
			m, _ := p.read()
			if m.Kind == 0 {
				return
			}
			asked <- m
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
		}
	})
	ctx := t.Context()
	for _, r := range []struct {
		do   func() error
		want keeperwire.Msg
	}{
		{func() error { return c.Put(ctx, keeperwire.Spec{ID: "a"}) }, keeperwire.Msg{Kind: keeperwire.Put, Spec: &keeperwire.Spec{ID: "a"}}},
		{func() error { return c.Start(ctx, "a") }, keeperwire.Msg{Kind: keeperwire.Start, ID: "a"}},
		{func() error { return c.Stop(ctx, "a", "why") }, keeperwire.Msg{Kind: keeperwire.Stop, ID: "a", Text: "why"}},
		{func() error { return c.Signal(ctx, "a", 15) }, keeperwire.Msg{Kind: keeperwire.Signal, ID: "a", Signal: 15}},
		{func() error { return c.Kill(ctx, "a", "why", true) }, keeperwire.Msg{Kind: keeperwire.Kill, ID: "a", Text: "why", Flag: true}},
		{func() error { return c.Kill(ctx, "a", "why", false) }, keeperwire.Msg{Kind: keeperwire.Kill, ID: "a", Text: "why"}},
		{func() error { return c.Remove(ctx, "a") }, keeperwire.Msg{Kind: keeperwire.Remove, ID: "a"}},
		{func() error { return c.SetReady(ctx, "a", true) }, keeperwire.Msg{Kind: keeperwire.SetReady, ID: "a", Flag: true}},
		{func() error { return c.SetNote(ctx, "a", []byte("n")) }, keeperwire.Msg{Kind: keeperwire.SetNote, ID: "a", Note: []byte("n")}},
		{func() error { return c.Ack(ctx, 9) }, keeperwire.Msg{Kind: keeperwire.Ack, Seq: 9}},
		{func() error { return c.DropFD(ctx, "f") }, keeperwire.Msg{Kind: keeperwire.DropFD, Name: "f"}},
		{func() error { return c.Probe(ctx, keeperwire.Probe{ID: "a", N: 3}) }, keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{ID: "a", N: 3}}},
		{func() error { return c.Beat(ctx) }, keeperwire.Msg{Kind: keeperwire.Beat}},
		{func() error { return c.Leave(ctx) }, keeperwire.Msg{Kind: keeperwire.Leave}},
	} {
		must(t, r.do())
		got := <-asked
		r.want.N = got.N
		if string(got.Append(nil)) != string(r.want.Append(nil)) || (got.N == 0) != (got.Kind == keeperwire.Ack) {
			t.Errorf("sent %+v, want %+v", got, r.want)
		}
	}
	if w := c.Welcome(); w.Gen != 7 || w.PID != 4242 {
		t.Errorf("welcome %+v", w)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
