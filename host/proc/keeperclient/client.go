// Package keeperclient is the agent's end of the wire to the keeper: requests
// that are answered by number, the keeper's events in order, and files that go
// over with a frame.
//
// The keeper is trusted to mean well and not to be well: it may be silent, frozen
// or killed at any byte. Nothing here waits longer than its context, and nothing
// that the keeper sends takes more memory than the bounds below.
package keeperclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of a client.
const (
	// helloWithin is how long a keeper may take to say who it is. One that is
	// frozen accepts connections all the same: the kernel does it.
	helloWithin = 10 * time.Second
	// maxCalls is how many requests may be under way. Each is of an instance that
	// starts, stops or is probed: a thousand of them at once are ten times the
	// largest host.
	maxCalls = 10_000
	// maxSlots is how many instances a list may have.
	maxSlots = 100_000
	// maxFiles is how many descriptors come with one frame: one, and some more to
	// see that there are too many.
	maxFiles = 8
)

// ErrSilent is wrapped by the error of [Dial] for a keeper that accepts and says
// nothing.
var ErrSilent = errors.New("the keeper does not answer")

// Options say which keeper, and where to talk about it.
type Options struct {
	Socket string       // <run>/keeper/sock
	Log    *slog.Logger // nil says nothing

	// KillSilent has [Dial] kill a keeper that accepts and says nothing for 10 s: it
	// is frozen, and while it lives no other can take its place. The next one adopts.
	KillSilent bool

	hello time.Duration // helloWithin, unless a test is shorter of time
}

// Client is a connection to one keeper process. All its methods may be called
// at any time from any goroutine.
type Client struct {
	conn    *net.UnixConn
	log     *slog.Logger
	welcome keeperwire.Welcome
	keeper  *os.File      // pidfd: the pid may be another's by the time we kill it
	writing chan struct{} // holds one token; who has it writes
	done    chan struct{} // closed when err is set
	heard   chan struct{} // closed when nobody reads the connection any more

	mu    sync.Mutex // guards all below
	err   error
	last  uint32
	calls map[uint32]*call
	sub   *subscription
}

// call is a request that waits for its answer.
type call struct {
	answer chan answer // takes one
	slots  []keeperwire.Slot
}

// answer is what came for a call. Who receives it owns file.
type answer struct {
	msg   keeperwire.Msg
	slots []keeperwire.Slot
	file  *os.File
}

// Dial connects to the keeper at o.Socket and returns when it has said who it is.
func Dial(ctx context.Context, o Options) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", o.Socket)
	if err != nil {
		return nil, fmt.Errorf("reach keeper: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		panic(fmt.Sprintf("keeperclient: net gave a %T for unixpacket", conn))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.hello = cmp.Or(o.hello, helloWithin)
	c := &Client{
		conn: unixConn, log: o.Log, writing: make(chan struct{}, 1), done: make(chan struct{}),
		heard: make(chan struct{}), calls: map[uint32]*call{},
	}
	c.writing <- struct{}{}
	if err := c.meet(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("reach keeper at %s: %w", o.Socket, err), c.Close())
	}
	return c, nil
}

// meet finds out who is there.
func (c *Client) meet(ctx context.Context, o Options) error {
	if err := c.know(); err != nil {
		close(c.heard) // nobody ever does
		return err
	}
	go c.read()
	waiting, cancel := context.WithTimeoutCause(ctx, o.hello, ErrSilent)
	defer cancel()
	m, err := c.ask(waiting, keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}, keeperwire.WelcomeMsg)
	if o.KillSilent && errors.Is(err, ErrSilent) && ctx.Err() == nil {
		c.log.ErrorContext(ctx, "keeper does not answer, killing it", "socket", o.Socket, "silent_for", o.hello)
		err = errors.Join(err, c.KillKeeper())
	}
	if err != nil {
		return err
	}
	if m.Welcome == nil {
		return errors.New("its welcome is empty")
	}
	const major = 8
	if theirs := m.Welcome.Version; theirs>>major != keeperwire.Version>>major {
		return fmt.Errorf("it speaks version %d.%d and this program %d.%d; use the backstay that has started it",
			theirs>>major, theirs&0xff, keeperwire.Version>>major, keeperwire.Version&0xff)
	}
	c.welcome = *m.Welcome
	return nil
}

// know takes hold of the process at the other end.
func (c *Client) know() error {
	peer, err := sock.PeerCred(c.conn)
	if err != nil {
		return err
	}
	if peer.UID != 0 && int(peer.UID) != os.Geteuid() {
		return fmt.Errorf("user %d listens there, who is neither root nor us", peer.UID)
	}
	fd, err := unix.PidfdOpen(int(peer.PID), 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", peer.PID, err)
	}
	c.keeper = os.NewFile(uintptr(fd), "keeper")
	return nil
}

// Welcome returns what the keeper said of itself.
func (c *Client) Welcome() keeperwire.Welcome { return c.welcome }

// Done is closed when the connection has ended; [Client.Err] says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, and nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// errClosed is what ended the connection if we did.
var errClosed = errors.New("keeper: connection closed")

// Close ends the connection. The keeper and its children go on.
func (c *Client) Close() error {
	c.fail(errClosed)
	<-c.heard
	if c.keeper == nil {
		return nil
	}
	if err := c.keeper.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close keeper's pidfd: %w", err)
	}
	return nil
}

// KillKeeper kills the keeper process. Its children stay, and the next keeper
// adopts them.
func (c *Client) KillKeeper() error {
	raw, err := c.keeper.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill keeper: %w", err)
	}
	e := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err = errors.Join(err, e); err != nil {
		return fmt.Errorf("kill keeper: %w", err)
	}
	return nil
}

// fail ends the connection with err, the first one to come.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	_ = c.conn.Close()
	c.calls = map[uint32]*call{}
}

// read takes what the keeper sends until there is no more.
func (c *Client) read() {
	defer close(c.heard)
	b := make([]byte, keeperwire.MaxFrame+1)
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	for {
		n, oobn, flags, _, err := c.conn.ReadMsgUnix(b, oob)
		files := sock.Files(oob[:max(oobn, 0)])
		if err == nil && flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 {
			err = fmt.Errorf("a frame is longer than the wire allows: %w", keeperwire.ErrMalformed)
		}
		if err == nil {
			err = c.frame(b[:n], &files)
		}
		for _, f := range files {
			_ = f.Close() // nobody asked for it
		}
		if err != nil {
			c.fail(fmt.Errorf("hear keeper: %w", gone(err)))
			return
		}
	}
}

// gone gives the end of the stream its plain name.
func gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errors.New("it is gone")
	}
	return err
}

// frame hands one frame to whom it is for, with the file if exactly one came;
// that one is then taken out of files.
func (c *Client) frame(b []byte, files *[]*os.File) error {
	m, err := keeperwire.Decode(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Kind == keeperwire.EventMsg {
		return c.event(m)
	}
	waiting := c.calls[m.N]
	if waiting == nil {
		return nil // who asked has given up
	}
	if m.Kind == keeperwire.SlotMsg {
		if m.Slot == nil || len(waiting.slots) == maxSlots {
			return keeperwire.ErrMalformed
		}
		waiting.slots = append(waiting.slots, *m.Slot)
		return nil
	}
	a := answer{msg: m, slots: waiting.slots}
	if len(*files) == 1 {
		a.file, *files = (*files)[0], nil
	}
	delete(c.calls, m.N)
	waiting.answer <- a
	return nil
}
