package keeper

import (
	"slices"
	"strings"
	"syscall"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// maxHeld bounds the descriptors held for others.
const maxHeld = 1024

// handle answers one request. What it is not done with it says later, by events.
func (k *keeper) handle(c *conn, m *keeperwire.Msg, fds *[]int) {
	switch m.Kind {
	case keeperwire.Hello:
		k.hello(c, m)
	case keeperwire.List:
		k.list(c, m)
	case keeperwire.Subscribe:
		c.subscribed, c.next = true, m.Seq+1
		if m.Seq > k.ring.last() { // of a ring that is gone: the host was started anew
			c.next = k.ring.first
		}
		k.send(c, &keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, -1)
		k.feed(c)
	case keeperwire.GetFD:
		k.give(c, m, k.held(m.Name), "no_fd", "no descriptor is held as "+m.Name)
	case keeperwire.PidFD:
		fd := -1
		if s := k.slots[m.ID]; s != nil {
			fd = s.pidfd
		}
		k.give(c, m, fd, "not_running", m.ID+" does not run")
	case keeperwire.ListFDs:
		held := make([]string, 0, len(k.fds))
		for name := range k.fds {
			held = append(held, name)
		}
		slices.Sort(held)
		k.send(c, &keeperwire.Msg{Kind: keeperwire.OK, N: m.N, Text: strings.Join(held, "\n")}, -1)
	case keeperwire.Leave:
		k.send(c, &keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, -1)
		say("asked to leave; the children stay")
		k.left = true
	default:
		k.answer(c, m, fds)
	}
}

// answer is for requests that are answered by OK or by what is wrong.
func (k *keeper) answer(c *conn, m *keeperwire.Msg, fds *[]int) {
	code, text := "", ""
	switch m.Kind {
	case keeperwire.Put:
		if m.Spec == nil {
			code, text = "bad_spec", "no spec"
			break
		}
		code, text = k.put(m.Spec)
	case keeperwire.Ack:
		k.ring.ack(m.Seq)
	case keeperwire.PutFD:
		code, text = k.hold(m.Name, fds)
	case keeperwire.DropFD:
		if fd := k.held(m.Name); fd >= 0 {
			_ = syscall.Close(fd)
			delete(k.fds, m.Name)
		}
	case keeperwire.Beat:
	case keeperwire.ProbeMsg:
		if m.Probe == nil {
			code, text = "bad_probe", "no probe"
			break
		}
		code, text = k.probe(m.Probe)
	default:
		if s := k.slots[m.ID]; s != nil {
			code, text = k.change(s, m)
		} else {
			code, text = "no_slot", "there is no "+m.ID
		}
	}
	kind := keeperwire.OK
	if code != "" {
		kind = keeperwire.Err
	}
	k.send(c, &keeperwire.Msg{Kind: kind, N: m.N, Code: code, Text: clip(text)}, -1)
}

// change is for requests about one slot.
func (k *keeper) change(s *slot, m *keeperwire.Msg) (code, text string) {
	switch m.Kind {
	case keeperwire.Start:
		k.step(s, restart.Start)
	case keeperwire.Stop:
		k.stop(s, m.Text)
	case keeperwire.Kill:
		k.kill(s, m.Text, m.Flag)
	case keeperwire.Signal:
		if m.Signal < 0 || m.Signal > 64 {
			return "bad_signal", "want a signal from 1 to 64"
		}
		if err := pidfdSignal(s.pidfd, syscall.Signal(m.Signal)); err != nil {
			return "not_running", s.rec.Slot.ID + ": " + named(err)
		}
	case keeperwire.Remove:
		return k.remove(s)
	case keeperwire.SetReady:
		ev := restart.NotReady
		if s.rec.Slot.Ready = m.Flag && s.pid > 0; s.rec.Slot.Ready {
			ev = restart.Ready
		}
		k.step(s, ev)
	case keeperwire.SetNote:
		if len(m.Note) > keeperwire.MaxNote {
			return "bad_note", "more than 256 bytes"
		}
		s.rec.Slot.Note = m.Note
		k.save(s)
	default:
		return "bad_request", "a kind that this keeper does not know"
	}
	return "", ""
}

func (k *keeper) hello(c *conn, m *keeperwire.Msg) {
	if m.Version>>8 != keeperwire.Version>>8 {
		k.send(c, &keeperwire.Msg{Kind: keeperwire.Err, N: m.N, Code: "version", Text: "this keeper speaks " + Version()}, -1)
		return
	}
	k.send(c, &keeperwire.Msg{Kind: keeperwire.WelcomeMsg, N: m.N, Welcome: &keeperwire.Welcome{
		Version: keeperwire.Version, Gen: k.gen, PID: int32(syscall.Getpid()), BootID: k.boot,
		Cgroups: k.cg.base != "", Why: k.cg.why, Build: k.buildSum(),
	}}, -1)
}

func (k *keeper) list(c *conn, m *keeperwire.Msg) {
	for _, s := range k.places {
		if s == nil {
			continue
		}
		view := s.rec.Slot
		view.Meta = s.spec.Meta
		k.send(c, &keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N, Slot: &view}, -1)
	}
	k.send(c, &keeperwire.Msg{Kind: keeperwire.End, N: m.N, Seq: k.ring.last()}, -1)
}

func (k *keeper) give(c *conn, m *keeperwire.Msg, fd int, code, text string) {
	if fd < 0 {
		k.send(c, &keeperwire.Msg{Kind: keeperwire.Err, N: m.N, Code: code, Text: clip(text)}, -1)
		return
	}
	k.send(c, &keeperwire.Msg{Kind: keeperwire.OK, N: m.N}, fd)
}

// put makes a slot, or gives one another spec: policy counts at once, the rest
// from the next start on.
func (k *keeper) put(spec *keeperwire.Spec) (code, text string) {
	if err := spec.Check(); err != nil {
		return "bad_spec", err.Error()
	}
	blob := spec.Append(nil)
	s := k.slots[spec.ID]
	if s != nil && s.rec.Slot.SpecHash == keeperwire.Sum(blob) && s.rec.SpecLen > 0 {
		return "", ""
	}
	fresh := s == nil
	if fresh {
		place := slices.Index(k.places, nil)
		if place < 0 {
			place = len(k.places)
		}
		if place >= maxSlots {
			return "too_many", "all slots of this keeper are taken"
		}
		s = newSlot(place)
		s.rec.Slot.ID = spec.ID
	}
	before := s.rec
	if err := k.state.saveSpec(s.place, &s.rec, blob); err != nil || !k.save(s) {
		s.rec = before
		return "no_record", "the run directory does not take the record"
	}
	k.place(s, *spec)
	k.pumper.limit(s)
	k.at(s.due())
	return "", ""
}

// remove forgets a slot, and what is in the file system for it. Its log stays.
func (k *keeper) remove(s *slot) (code, text string) {
	id := s.rec.Slot.ID
	if s.busy() {
		return "not_stopped", id + " runs: stop it first"
	}
	if err := k.state.free(s.place); err != nil {
		return "no_record", "the run directory does not take the record"
	}
	k.closePipes(s)
	k.pumper.forget(s.place)
	for _, name := range pipeNames {
		_ = syscall.Unlink(k.pipeDir(s) + "/" + name)
	}
	_ = syscall.Rmdir(k.pipeDir(s))
	k.cg.remove(s.rec.Cgroup)
	if s.spec.Cgroup != s.rec.Cgroup {
		k.cg.remove(s.spec.Cgroup)
	}
	delete(k.slots, id)
	k.places[s.place] = nil
	return "", ""
}

func (k *keeper) held(name string) int {
	if fd, ok := k.fds[name]; ok {
		return fd
	}
	return -1
}

// hold keeps a descriptor under a name, in place of the one before, and starts
// who has waited for it.
func (k *keeper) hold(name string, fds *[]int) (code, text string) {
	switch {
	case len(*fds) != 1:
		return "bad_fd", "want exactly one descriptor"
	case name == "" || len(name) > 255 || strings.ContainsAny(name, ":\n\x00"):
		return "bad_fd", "want a name without colon and line break"
	case k.held(name) < 0 && len(k.fds) >= maxHeld:
		return "too_many", "too many descriptors are held"
	}
	if old := k.held(name); old >= 0 {
		_ = syscall.Close(old)
	}
	k.fds[name], *fds = (*fds)[0], nil
	for _, s := range k.slots {
		if s.waits == name {
			k.start(s)
		}
	}
	return "", ""
}
