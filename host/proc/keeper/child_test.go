package keeper_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// child is this program as a service.
func child(role string) {
	ctx := context.Background()
	switch args := os.Args[1:]; role {
	case "lines": // N numbered lines, as fast as they can be written, and exit with CODE
		count, _ := strconv.Atoi(args[0])
		code, _ := strconv.Atoi(args[1])
		writeLines(os.Stdout, "line", count)
		for len(args) > 2 { // and not before that file is there
			if _, err := os.Stat(args[2]); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		os.Exit(code)
	case "both": // N numbered lines to each stream at full speed
		count, _ := strconv.Atoi(args[0])
		done := make(chan bool)
		go func() { writeLines(os.Stdout, "out", count); done <- true }()
		go func() { writeLines(os.Stderr, "err", count); done <- true }()
		<-done
		<-done
	case "front": // what is above a keeper: it starts the next one, and its orphans are in no hurry
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, 36, 1, 0) // PR_SET_CHILD_SUBREAPER
		for {
			cmd := exec.Command(args[0], "run", args[1])
			cmd.Stderr = os.Stderr
			if cmd.Run() == nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	case "foster":
		foster(args[0], args[1])
	case "trickle": // numbered lines for ever, each with the pid
		for i := 0; ; i++ {
			fmt.Println(os.Getpid(), i)
			time.Sleep(100 * time.Microsecond)
		}
	case "beats": // a sign of life every few milliseconds
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: args[0], Net: "unixpacket"})
		for err == nil {
			m := keeperwire.Msg{Kind: keeperwire.Beat}
			_, err = c.Write(m.Append(nil))
			_, _ = c.Read(make([]byte, 100))
			fmt.Println("beat")
			time.Sleep(5 * time.Millisecond)
		}
	case "deaf": // ignores TERM
		signalIgnore()
		fmt.Println("deaf")
		<-ctx.Done()
		select {}
	}
}

// writeLines writes in pieces that end in the middle of a line, as a program does
// that buffers what it prints.
func writeLines(f *os.File, name string, count int) {
	const piece = 4000
	var b []byte
	for i := range count {
		b = fmt.Appendf(b, "%s %09d\n", name, i)
		if len(b) > piece {
			if _, err := f.Write(b[:piece]); err != nil {
				os.Exit(98)
			}
			b = append(b[:0], b[piece:]...)
		}
	}
	if _, err := f.Write(b); err != nil {
		os.Exit(97)
	}
}

// numbered fails unless text is the lines 0, 1, 2 … of name, each once.
func numbered(t *testing.T, text, name string) (count int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+" ") {
			continue
		}
		if want := fmt.Sprintf("%s %09d\n", name, count); line != want {
			t.Fatalf("line %d is %q", count, line)
		}
		count++
	}
	return count
}
