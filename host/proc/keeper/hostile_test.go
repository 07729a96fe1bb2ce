package keeper_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

func TestSilentAgentIsKilledAndSpeakingOneIsNot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("mute", "exec sleep 1000")
	s.SilentMS, s.Restart = 100, restart.Policy{Min: 1, Max: 1, ResetAfter: 1e15, Limit: 2, Window: 1e12}
	c.start(s)
	for range 2 {
		if e := c.event(kind(keeperwire.EvExited, "mute")); e.Exit.Signal != 9 || e.Exit.Reason != "silent for 100ms" {
			t.Errorf("%+v", e.Exit)
		}
	}
	c.until("mute", keeperwire.Failed)
	talks := n.role("talks", "beats", n.dir+"/sock")
	before := c.up(talks)
	beats := func(count int) func() bool {
		return func() bool { return strings.Count(n.log("talks"), "beat") >= count }
	}
	eventually(t, "it speaks", beats(1)) // a loaded machine is slow to start it
	talks.SilentMS = 3000
	c.put(talks)
	eventually(t, "it has spoken for longer than it may be silent", beats(800)) // 5 ms apart at least
	if got := c.list()["talks"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

func TestDamagedRecordIsLeftOutAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.up(n.spec("a", "exec sleep 1000"))
	before := c.up(n.spec("b", "exec sleep 1000"))
	n.kill()
	f, err := os.OpenFile(n.dir+"/state", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteAt([]byte("damage"), page+20)
	_ = f.Close()
	c = n.start()
	got := c.list()
	if len(got) != 1 || got["b"].PID != before.PID {
		t.Errorf("%+v", got)
	}
}

// TestMutatedFramesDoNotHurtTheKeeper sends it what a broken or hostile client
// of the right user may.
func TestMutatedFramesDoNotHurtTheKeeper(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	pid := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome.PID
	s := n.spec("mut", "exec sleep 1000")
	c.up(s)
	dice := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		m := keeperwire.Msg{Kind: keeperwire.MsgKind(1 + dice.IntN(30)), ID: "mut", Name: "x", Signal: 18, Seq: dice.Uint64(), Note: []byte("n")}
		if m.Kind == keeperwire.Leave || m.Kind == keeperwire.Subscribe {
			continue
		}
		if dice.IntN(2) == 0 {
			m.Spec = &s
		}
		frame := m.Append(nil)
		for range dice.IntN(4) {
			frame[1+dice.IntN(len(frame)-1)] = byte(dice.Uint32())
		}
		if dice.IntN(8) == 0 {
			frame = frame[:dice.IntN(len(frame))]
		}
		if _, err := c.c.Write(frame); err != nil || dice.IntN(50) == 0 {
			_ = c.c.Close()
			c = n.dial()
		}
	}
	c = n.dial()
	if got := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome.PID; got != pid {
		t.Errorf("keeper %d died, this is %d", pid, got)
	}
	for id := range c.list() {
		c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: id})
	}
}
