package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of handing files over.
const (
	// passWithin is how long one side waits for the other.
	passWithin = 5 * time.Second
	// maxName is the longest name of a file, and the longest answer, in bytes.
	maxName = 4096
)

// accepted is the answer to a file that was taken.
const accepted = "ok"

// ListenPass listens at path for files that others [Pass] to this process. The
// socket has mode 0600, and replaces what is at path as [Listen] does.
func ListenPass(path string) (*os.File, error) {
	l, err := listenUnix("unixpacket", path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("listen for files at %s: %w", path, err)
	}
	return detach(l)
}

// Pass hands f to the process that takes files at path and returns when it has
// it. Both processes then have it.
func Pass(ctx context.Context, path, name string, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, passWithin)
	defer cancel()
	if err := pass(ctx, path, name, f); err != nil {
		return fmt.Errorf("hand %s to %s: %w", name, path, err)
	}
	return nil
}

func pass(ctx context.Context, path, name string, f *os.File) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	if err != nil {
		return short(err)
	}
	defer closeWith(ctx, c)()
	u := c.(*net.UnixConn)
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	// Not f.Fd(): it would make the file blocking, for everyone who shares it.
	e := raw.Control(func(fd uintptr) { _, _, err = u.WriteMsgUnix([]byte(name), unix.UnixRights(int(fd)), nil) })
	answer, n := make([]byte, maxName), 0
	if err = errors.Join(err, e); err == nil {
		n, err = u.Read(answer)
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		return errors.New("it closed the connection and said nothing")
	case err != nil:
		return stopped(ctx, err)
	case string(answer[:n]) != accepted:
		return fmt.Errorf("it refused: %q", answer[:n])
	}
	return nil
}

// Receive serves l, a listener on a socket of [ListenPass], until ctx is done
// and closes it: take gets each file that is passed and owns it; its error is the
// answer. give returns what is sent to whoever asks with [Collect]; it stays the
// giver's. Only root and the user of this process are heard. Files come one
// after the other.
func Receive(ctx context.Context, l *net.UnixListener, take func(name string, f *os.File) error, give func() map[string]*os.File) error {
	defer closeWith(ctx, l)()
	ours := uint32(os.Geteuid())
	guard := Guarded(l, func(c Cred) bool { return c.UID == 0 || c.UID == ours })
	for {
		c, err := guard.Accept()
		if err != nil {
			return stopped(ctx, err)
		}
		serve(ctx, c.(*net.UnixConn), take, give)
	}
}

// serve takes the files of one connection. A peer that is silent is dropped, so
// that it does not keep others waiting.
func serve(ctx context.Context, c *net.UnixConn, take func(string, *os.File) error, give func() map[string]*os.File) {
	defer closeWith(ctx, c)()
	for {
		_ = c.SetDeadline(time.Now().Add(passWithin))
		name, f, err := message(c)
		if err != nil {
			return
		}
		answer := accepted
		if f == nil && name == collect {
			handOut(c, give())
			return
		}
		if f == nil {
			answer = "a name and one file are one message"
		} else if err := take(name, f); err != nil {
			answer = err.Error()
		}
		if _, err := c.Write([]byte(answer[:min(len(answer), maxName)])); err != nil {
			return
		}
	}
}

// message returns one message: a name, and the file if there is exactly one.
func message(c *net.UnixConn) (string, *os.File, error) {
	name := make([]byte, maxName+1)
	oob := make([]byte, unix.CmsgSpace(4*16)) // more than one, so that more can be seen and closed
	n, oobn, flags, _, err := c.ReadMsgUnix(name, oob)
	if err != nil {
		return "", nil, err
	}
	fds := rights(oob[:oobn])
	if n == 0 || n > maxName || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(fds) != 1 {
		closeAll(fds)
		return string(name[:min(n, maxName)]), nil, nil
	}
	return string(name[:n]), os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}

// rights returns the descriptors in oob; on nonsense those up to it.
func rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// closeWith closes c when ctx is done, or when the function it returns is called.
func closeWith(ctx context.Context, c io.Closer) func() {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() {
		if stop() {
			_ = c.Close()
		}
	}
}

// stopped returns nil or the context's error for what ended because of it.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return short(err)
}

// Files wraps the descriptors that came in oob, the control messages beside a
// datagram. The caller owns them all.
func Files(oob []byte) (files []*os.File) {
	for _, fd := range rights(oob) {
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	return files
}
