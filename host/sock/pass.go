package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxPassName bounds the name that travels with a file.
const maxPassName = 512

// passWithin bounds one exchange of [Pass]: both ends are on this host.
const passWithin = 5 * time.Second

// Pass gives f under name to whoever serves the SEQPACKET socket at path with
// [Receive], and returns when it has said that it has it.
func Pass(ctx context.Context, path, name string, f *os.File) error {
	c, err := (&net.Dialer{Timeout: passWithin}).DialContext(ctx, "unixpacket", path)
	if err != nil {
		return fmt.Errorf("pass %s: %w", name, err)
	}
	defer func() { _ = c.Close() }() // one exchange
	_ = c.SetDeadline(time.Now().Add(passWithin))
	to, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("pass %s: %s is no Unix socket", name, path)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("pass %s: %w", name, err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) {
		_, _, sent = to.WriteMsgUnix([]byte(name), unix.UnixRights(int(fd)), nil)
	}); err != nil || sent != nil {
		return fmt.Errorf("pass %s: %w", name, errors.Join(err, sent))
	}
	answer := make([]byte, maxPassName)
	n, err := to.Read(answer)
	switch {
	case err != nil:
		return fmt.Errorf("pass %s: %w", name, err)
	case string(answer[:n]) != "ok":
		return fmt.Errorf("pass %s: refused: %s", name, answer[:n])
	}
	return nil
}

// Receive serves [Pass] on l until ctx is done: take gets each file and owns it.
// Only root and this process's own user are heard.
func Receive(ctx context.Context, l *net.UnixListener, take func(name string, f *os.File) error) error {
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive files: %w", err)
		}
		_ = c.SetDeadline(time.Now().Add(passWithin))
		answer := "ok"
		if err := receiveOne(c, take); err != nil {
			answer = err.Error()
		}
		_, _ = c.Write([]byte(answer))
		_ = c.Close()
	}
}

func receiveOne(c *net.UnixConn, take func(string, *os.File) error) error {
	uid, _, _, err := PeerCred(c)
	if err != nil {
		return err
	}
	if uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("user %d may not pass files", uid)
	}
	name := make([]byte, maxPassName)
	rights := make([]byte, unix.CmsgSpace(4))
	n, rn, flags, _, err := c.ReadMsgUnix(name, rights)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	files, err := filesOf(rights[:rn])
	if err != nil {
		return err
	}
	if len(files) != 1 || n == 0 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		for _, f := range files {
			_ = f.Close()
		}
		return fmt.Errorf("%d files and a name of %d bytes; it must be one and at most %d", len(files), n, maxPassName)
	}
	return take(string(name[:n]), files[0])
}

// filesOf returns the files in a control message, each closed on exec.
func filesOf(rights []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("read passed files: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // a message of another kind
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

// ListenPass makes the socket at path that [Receive] serves.
func ListenPass(path string) (*os.File, error) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen for files: %w", err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	_ = l.Close() // f is another descriptor of it
	if err != nil {
		return nil, fmt.Errorf("listen for files: %w", err)
	}
	return f, nil
}
