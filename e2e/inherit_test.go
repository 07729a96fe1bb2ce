package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/api"
)

// TestAgentThatHangsTakesNoInstanceAlong kills the front and, with nobody above
// them, keeper after keeper: the agent starts the next ones and inherits what they
// leave. Then the agent hangs, and the keeper ends it, and nothing else.
func TestAgentThatHangsTakesNoInstanceAlong(t *testing.T) {
	n := newNode(t)
	n.write(header)
	n.start()
	before := n.whole("bystander", 1)[0]
	_ = n.front.Process.Kill()
	<-n.gone
	n.gone = make(chan struct{}) // it is missed by nobody
	t.Cleanup(n.startAgain)
	agent := n.status().Role("agent").PID
	n.killKeeper()
	n.serve(`
  heir:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    deploy: { min_ready: 0s }
`)
	heir := n.whole("heir", 1)[0] // a child of the keeper that the agent has started
	n.killKeeper()
	if got := parentOf(t, heir.PID); got != agent {
		t.Fatalf("the parent of %d is %d, not the agent %d", heir.PID, got, agent)
	}
	if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.until("another agent", func(s api.Status) string {
		if pid := s.Role("agent").PID; pid == agent || pid == 0 {
			return fmt.Sprintf("it is %d, as before", pid)
		}
		return ""
	})
	for service, was := range map[string]api.Instance{"bystander": before, "heir": heir} {
		if now := n.whole(service, 1)[0]; now.PID != was.PID || now.Starts != was.Starts {
			t.Errorf("%s is pid %d after %d starts, was pid %d", service, now.PID, now.Starts, was.PID)
		}
	}
}

// startAgain starts the next front, which takes over and can be told to end all.
func (n *node) startAgain() {
	n.start()
	n.until("the front has taken over", func(api.Status) string {
		text, _ := os.ReadFile(filepath.Join(n.dir, "front.out"))
		if ups := strings.Count(string(text), "backstay: up"); ups < 2 {
			return fmt.Sprintf("%d fronts are up", ups)
		}
		return ""
	})
}

// killKeeper kills the keeper, and waits for the next one.
func (n *node) killKeeper() {
	n.t.Helper()
	keeper := n.status().Role("keeper").PID
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.until("the next keeper", func(s api.Status) string {
		if pid := s.Role("keeper").PID; pid == keeper || pid == 0 {
			return fmt.Sprintf("it is %d", pid)
		}
		return ""
	})
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	parent, err := strconv.Atoi(strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
