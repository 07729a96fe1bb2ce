package keeper

import (
	"errors"
	"slices"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the socket.
const (
	maxConns = 64 // the agent, a front, a few tools
	backlog  = 64
	perTurn  = 64 // frames of one client before the others' turn
	oobSize  = 512
)

// conn is one client. It is us or root, or it would not be here.
type conn struct {
	fd         int
	from       *slot // whose process, pid, is at the other end
	pid        int
	subscribed bool
	next       uint64   // event it gets next
	queue      [][]byte // answers that did not fit the socket; until they do, nothing of it is read
}

func (k *keeper) sockPath() string { return k.dir + "/sock" }

// listen makes the socket under another name and renames it: there is no moment
// at which nobody can be found.
func (k *keeper) listen() error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return sys.Fail("make socket", err)
	}
	tmp := k.sockPath() + ".new"
	_ = syscall.Unlink(tmp)
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: tmp})
	if err == syscall.ENOSPC { // no inode is left but that of the keeper before
		tmp = k.sockPath()
		_ = syscall.Unlink(tmp)
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: tmp})
	}
	if err == nil {
		err = syscall.Chmod(tmp, 0o600)
	}
	if err == nil {
		err = syscall.Listen(fd, backlog)
	}
	if err == nil && tmp != k.sockPath() {
		err = syscall.Rename(tmp, k.sockPath())
	}
	if err != nil {
		return sys.Fail("listen on "+k.sockPath(), err)
	}
	k.listener = fd
	k.Watch(fd, func(uint32) { k.accept() })
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
		if err != nil || len(k.conns) >= maxConns || cred.Uid != 0 && int(cred.Uid) != syscall.Geteuid() {
			_ = syscall.Close(fd)
			continue
		}
		c := &conn{fd: fd, pid: int(cred.Pid), from: k.pids[int(cred.Pid)]}
		k.conns[fd] = c
		k.Watch(fd, func(uint32) { k.serve(c) })
	}
}

// shed gives up /dev/null for a moment to turn away a client that no descriptor
// is left for: else it would wake us for ever.
func (k *keeper) shed() {
	sys.CloseFD(&k.null)
	if fd, _, err := syscall.Accept4(k.listener, syscall.SOCK_CLOEXEC); err == nil {
		_ = syscall.Close(fd)
	}
	k.null, _ = sys.Open("/dev/null", syscall.O_RDWR, 0)
}

func (k *keeper) hangUp(c *conn) {
	delete(k.conns, c.fd)
	k.Unwatch(&c.fd)
}

// serve sends what a client has room for, and reads what it has sent.
func (k *keeper) serve(c *conn) {
	for len(c.queue) > 0 {
		if err := sendTo(c.fd, c.queue[0], -1); err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				k.hangUp(c)
			}
			return
		}
		if c.queue = c.queue[1:]; len(c.queue) == 0 {
			_ = k.Control(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLIN)
		}
	}
	for n := 0; n < perTurn && len(c.queue) == 0 && k.receive(c); n++ {
	}
	k.feed(c)
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
		k.hangUp(c) // gone, or not one of ours
	} else {
		if c.from != nil && c.from.pid == c.pid {
			c.from.heard = k.Clock
		}
		k.handle(c, &m, &fds)
	}
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
	return c.fd >= 0 && !k.left
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

// send sends one frame, or keeps it until there is room. fd < 0 is none; with
// one there is no keeping: the client asks again.
func (k *keeper) send(c *conn, m *keeperwire.Msg, fd int) {
	frame := m.Append(k.out[:0])
	k.out = frame[:0]
	if len(frame) > keeperwire.MaxFrame {
		frame = (&keeperwire.Msg{Kind: keeperwire.Err, N: m.N, Code: "too_large", Text: "the answer does not fit a frame"}).Append(nil)
	}
	var err error = syscall.EAGAIN
	if len(c.queue) == 0 {
		err = sendTo(c.fd, frame, fd)
	}
	switch {
	case err == nil:
	case errors.Is(err, syscall.EAGAIN) && fd < 0:
		if c.queue = append(c.queue, slices.Clone(frame)); len(c.queue) == 1 {
			_ = k.Control(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLOUT)
		}
	default:
		k.hangUp(c)
	}
}

func sendTo(to int, frame []byte, fd int) error {
	var oob []byte
	if fd >= 0 {
		oob = syscall.UnixRights(fd)
	}
	_, err := sys.Again(func() (int, error) {
		return syscall.SendmsgN(to, frame, oob, nil, syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
	})
	return err
}

// feedAll sends what this turn has to tell. Who hears that a run has ended may
// look for its last words: they are in the log, unless the disk hangs.
func (k *keeper) feedAll() {
	if !k.unfed {
		return
	}
	k.settle()
	k.Work() // the pumper may have told what was lost
	k.unfed = false
	for _, c := range k.conns {
		k.feed(c)
	}
}

// feed sends the events that c has not had, as far as there is room.
func (k *keeper) feed(c *conn) {
	for c.subscribed && c.fd >= 0 && len(c.queue) == 0 && c.next <= k.ring.Last() {
		e, ok := k.ring.Get(max(c.next, k.ring.First()))
		if !ok {
			c.next = k.ring.Last() + 1
			return
		}
		c.next = e.Seq + 1
		k.send(c, &keeperwire.Msg{Kind: keeperwire.EventMsg, Event: &e}, -1)
	}
}
