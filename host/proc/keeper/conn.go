package keeper

import (
	"errors"
	"syscall"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the socket.
const (
	maxConns   = 64       // the agent, a front, a few tools
	maxPending = 16 << 20 // answers that a client does not read, then it is hung up on
	backlog    = 64
	perTurn    = 64 // frames of one client before the others' turn
	oobSize    = 512
)

// conn is one client. It is us or root, or it would not be here.
type conn struct {
	place, fd  int
	pid        int // at the other end
	subscribed bool
	next       uint64   // event it gets next
	queue      [][]byte // answers that did not fit the socket
	queued     int
	writing    bool // woken when there is room
}

func (k *keeper) sockPath() string { return k.dir + "/sock" }

// listen makes the socket under another name and renames it: there is no moment
// at which nobody can be found.
func (k *keeper) listen() error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return failure{"make socket", named(err)}
	}
	tmp := k.sockPath() + ".new"
	_ = syscall.Unlink(tmp)
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: tmp})
	if err == nil {
		err = syscall.Chmod(tmp, 0o600)
	}
	if err == nil {
		err = syscall.Listen(fd, backlog)
	}
	if err == nil {
		err = syscall.Rename(tmp, k.sockPath())
	}
	if err != nil {
		return failure{"listen on " + k.sockPath(), named(err)}
	}
	k.listener = fd
	k.watch(fd, forListener, 0)
	return nil
}

func (k *keeper) accept() {
	for {
		fd, _, err := syscall.Accept4(k.listener, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		if err == syscall.EMFILE || err == syscall.ENFILE {
			k.shed()
			return
		}
		if err != nil {
			return
		}
		cred, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		c := k.seat(fd)
		if err != nil || c == nil || cred.Uid != 0 && int(cred.Uid) != syscall.Geteuid() {
			_ = syscall.Close(fd)
			continue
		}
		c.pid = int(cred.Pid)
		k.conns[c.place] = c
		k.watch(fd, forConn, c.place)
	}
}

// shed gives up the scratch pipe for a moment to turn away a client that no
// descriptor is left for: else it would wake us for ever.
func (k *keeper) shed() {
	closeFD(&k.null)
	fd, _, err := syscall.Accept4(k.listener, syscall.SOCK_CLOEXEC)
	if err == nil {
		_ = syscall.Close(fd)
	}
	k.null, _ = syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
}

func (k *keeper) seat(fd int) *conn {
	for i, c := range k.conns {
		if c == nil {
			return &conn{place: i, fd: fd}
		}
	}
	if len(k.conns) == maxConns {
		return nil
	}
	k.conns = append(k.conns, nil)
	return &conn{place: len(k.conns) - 1, fd: fd}
}

func (k *keeper) hangUp(c *conn) {
	if k.conns[c.place] == c {
		k.conns[c.place] = nil
		k.unwatch(&c.fd)
	}
}

// serve reads what a client has sent, and sends what it has room for.
func (k *keeper) serve(place int, events uint32) {
	c := k.conns[place]
	if c == nil {
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		k.flush(c)
	}
	for range perTurn {
		if c.fd < 0 || events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 || !k.receive(c) {
			return
		}
	}
}

func (k *keeper) receive(c *conn) (more bool) {
	var oob [oobSize]byte
	n, oobn, flags, _, err := syscall.Recvmsg(c.fd, k.frame, oob[:], syscall.MSG_CMSG_CLOEXEC)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return err == syscall.EINTR
	}
	fds := rights(oob[:max(oobn, 0)])
	m, derr := keeperwire.Decode(k.frame[:max(n, 0)])
	if err != nil || n == 0 || derr != nil || flags&syscall.MSG_TRUNC != 0 {
		closeFDs(fds)
		k.hangUp(c) // gone, or not one of ours
		return false
	}
	if s := k.pids[c.pid]; s != nil {
		s.heard = k.now()
	}
	k.handle(c, &m, &fds)
	closeFDs(fds)
	return !k.left
}

// rights are the descriptors that came with a frame.
func rights(oob []byte) (fds []int) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if got, err := syscall.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}

// send sends one frame, or keeps it until there is room. fd < 0 is none; with
// one there is no keeping: the client asks again.
func (k *keeper) send(c *conn, m *keeperwire.Msg, fd int) {
	if c.fd < 0 {
		return
	}
	frame := m.Append(k.out[:0])
	k.out = frame[:0]
	if len(frame) > keeperwire.MaxFrame {
		frame = (&keeperwire.Msg{Kind: keeperwire.Err, N: m.N, Code: "too_large", Text: "the answer does not fit a frame"}).Append(nil)
	}
	if len(c.queue) == 0 {
		err := sendTo(c.fd, frame, fd)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.EAGAIN) || fd >= 0 {
			k.hangUp(c)
			return
		}
	}
	c.queue = append(c.queue, append([]byte(nil), frame...))
	if c.queued += len(frame); c.queued > maxPending {
		k.hangUp(c)
		return
	}
	k.wantRoom(c, true)
}

func sendTo(to int, frame []byte, fd int) error {
	var oob []byte
	if fd >= 0 {
		oob = syscall.UnixRights(fd)
	}
	_, err := again(func() (int, error) {
		return syscall.SendmsgN(to, frame, oob, nil, syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
	})
	return err
}

func (k *keeper) wantRoom(c *conn, want bool) {
	if c.writing == want || c.fd < 0 {
		return
	}
	c.writing = want
	events := uint32(syscall.EPOLLIN)
	if want {
		events |= syscall.EPOLLOUT
	}
	_ = k.control(syscall.EPOLL_CTL_MOD, c.fd, forConn, c.place, events)
}

// flush sends what waits, then events.
func (k *keeper) flush(c *conn) {
	for len(c.queue) > 0 {
		if err := sendTo(c.fd, c.queue[0], -1); err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				k.hangUp(c)
			}
			return
		}
		c.queued -= len(c.queue[0])
		c.queue = c.queue[1:]
	}
	k.wantRoom(c, false)
	if c.subscribed {
		k.feed(c)
	}
}

// feed sends the events that c has not had, as far as there is room.
func (k *keeper) feed(c *conn) {
	for c.fd >= 0 && len(c.queue) == 0 && c.next <= k.ring.last() {
		e, ok := k.ring.get(max(c.next, k.ring.first))
		if !ok {
			c.next = k.ring.last() + 1
			return
		}
		c.next = e.Seq + 1
		k.send(c, &keeperwire.Msg{Kind: keeperwire.EventMsg, Event: &e}, -1)
	}
}
