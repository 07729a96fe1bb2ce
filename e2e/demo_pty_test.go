package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/demo"
)

// terminal returns both ends of one: ours, and that of a program.
func terminal(t *testing.T) (ours, its *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if its, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = its.Close() })
	return ours, its
}

// target is an instance as the visitor is shown it.
var target = regexp.MustCompile(`(shop-[0-9a-f]{6}) ([0-9]+)`)

// visitor watches a terminal, kills the first instance that is shown to be killed,
// and presses Enter when that has become an act. It returns all that was shown.
func visitor(screen io.ReadWriter) (shown string, err error) {
	var all strings.Builder
	lines := bufio.NewReader(screen)
	for killed, turn := "", false; ; {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		m := target.FindStringSubmatch(line)
		switch {
		case err != nil: // a terminal whose program has gone ends with EIO
			return all.String(), nil //nolint:nilerr // that is the end
		case strings.Contains(line, "your turn"):
			turn = true
		case turn && killed == "" && m != nil:
			pid, _ := strconv.Atoi(m[2])
			if killed, err = m[1], syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return all.String(), err
			}
		case killed != "" && strings.Contains(line, "you killed "+killed):
			if _, err := io.WriteString(screen, "\n"); err != nil {
				return all.String(), err
			}
			killed = "nothing more"
		}
	}
}

// On a terminal the last act is the visitor's: what they kill becomes an act of
// its own, which is told and not judged, and Enter ends it. The acts are shown
// while they are played.
func TestWhatTheVisitorKillsBecomesAnAct(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(context.Background(), 5*hang)
	defer cancel()
	ours, its := terminal(t)
	cmd := exec.CommandContext(ctx, built(t, "backstay"), "demo", "--report", report)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = its, its, its
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = its.Close() // its own are left: the screen ends with the program
	shown, err := visitor(ours)
	if err != nil {
		t.Errorf("visitor: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("demo: %v\n%s", err, shown)
	}
	if !strings.Contains(shown, "\r\x1b[K") {
		t.Error("nothing was shown while an act was played")
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r demo.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	last := r.Acts[len(r.Acts)-1]
	if !strings.HasPrefix(last.Title, "you killed shop-") || !last.Unjudged || last.Sent == 0 || last.Failed != 0 || last.Healed == 0 {
		t.Errorf("the visitor's act: %+v\n%s", last, shown)
	}
	if r.Promises < 10 || r.Kept != r.Promises {
		t.Errorf("%d of %d promises kept\n%s", r.Kept, r.Promises, shown)
	}
}
