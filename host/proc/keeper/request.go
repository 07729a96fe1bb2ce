package keeper

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/records"
	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// maxHeld bounds the descriptors held for others.
const maxHeld = 1024

// no is why a request is refused.
func no(code, text string) error {
	return &keeperwire.Msg{Kind: keeperwire.Err, Code: code, Text: clip(text)}
}

// handle answers one request. What it is not done with it says later, by events.
func (k *keeper) handle(c *conn, m *keeperwire.Msg, fds *[]int) {
	k.feedAll()
	answer, fd := &keeperwire.Msg{Kind: keeperwire.OK}, -1
	var err error
	switch m.Kind {
	case keeperwire.Hello:
		answer, err = k.hello(m)
	case keeperwire.List:
		answer = k.list(c, m)
	case keeperwire.Subscribe:
		c.subscribed, c.next = true, m.Seq+1
		if m.Seq > k.ring.Last() { // of a ring that is gone: the host was started anew
			c.next = k.ring.First()
		}
	case keeperwire.Ack:
		k.ring.Ack(m.Seq)
	case keeperwire.Put:
		err = k.put(m.Spec)
	case keeperwire.ProbeMsg:
		err = k.probe(m.Probe)
	case keeperwire.PutFD:
		err = k.hold(m.Name, fds)
	case keeperwire.GetFD:
		if fd = k.held(m.Name); fd < 0 {
			err = no("no_fd", "no descriptor is held as "+m.Name)
		}
	case keeperwire.DropFD:
		if fd := k.held(m.Name); fd >= 0 {
			_ = syscall.Close(fd)
			delete(k.fds, m.Name)
		}
	case keeperwire.ListFDs:
		answer.Text = strings.Join(slices.Sorted(maps.Keys(k.fds)), "\n")
	case keeperwire.PidFD:
		if s := k.slots[m.ID]; s != nil {
			fd = s.pidfd
		}
		if fd < 0 {
			err = no("not_running", m.ID+" does not run")
		}
	case keeperwire.Beat:
	case keeperwire.Leave:
		sys.Say("asked to leave; the children stay")
		k.left = true
	default:
		err = k.change(m)
	}
	if refused, ok := errors.AsType[*keeperwire.Msg](err); ok {
		answer = refused
	}
	k.answer(c, m, answer, fd)
}

// answer answers m, after all that it has caused.
func (k *keeper) answer(c *conn, m, answer *keeperwire.Msg, fd int) {
	k.feedAll()
	if m.Kind == keeperwire.Ack && m.N == 0 { // nobody waits for an answer; each would wake the agent
		return
	}
	answer.N = m.N
	k.send(c, answer, fd)
}

// change is for requests about one slot.
func (k *keeper) change(m *keeperwire.Msg) error {
	s := k.slots[m.ID]
	if s == nil {
		return no("no_slot", "there is no "+m.ID)
	}
	switch m.Kind {
	case keeperwire.Start:
		k.step(s, restart.Start)
	case keeperwire.Stop:
		k.stop(s, m.Text)
	case keeperwire.Kill:
		k.kill(s, m.Text, m.Flag)
	case keeperwire.Signal:
		if m.Signal < 0 || m.Signal > 64 {
			return no("bad_signal", "want a signal from 1 to 64")
		}
		if err := sys.PidfdSignal(s.pidfd, syscall.Signal(m.Signal)); err != nil {
			return no("not_running", m.ID+": "+sys.Named(err))
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
			return no("bad_note", "more than 256 bytes")
		}
		s.rec.Slot.Note = m.Note
		k.save(s)
	default:
		return no("bad_request", "a kind that this keeper does not know")
	}
	return nil
}

func (k *keeper) hello(m *keeperwire.Msg) (*keeperwire.Msg, error) {
	if m.Version>>8 != keeperwire.Version>>8 {
		return nil, no("version", "this keeper speaks "+Version())
	}
	return &keeperwire.Msg{Kind: keeperwire.WelcomeMsg, Welcome: &keeperwire.Welcome{
		Version: keeperwire.Version, Gen: k.gen, PID: int32(syscall.Getpid()), BootID: k.boot,
		Cgroups: k.trees.Cgroups(), Why: k.trees.Why,
	}}, nil
}

func (k *keeper) list(c *conn, m *keeperwire.Msg) (end *keeperwire.Msg) {
	for _, s := range k.places {
		if s != nil {
			view := s.rec.Slot
			view.Meta = s.spec.Meta
			k.send(c, &keeperwire.Msg{Kind: keeperwire.SlotMsg, N: m.N, Slot: &view}, -1)
		}
	}
	return &keeperwire.Msg{Kind: keeperwire.End, Seq: k.ring.Last()}
}

// put makes a slot, or gives one another spec: policy counts at once, the rest
// from the next start on.
func (k *keeper) put(spec *keeperwire.Spec) error {
	if spec == nil {
		return no("bad_spec", "no spec")
	}
	if err := spec.Check(); err != nil {
		return no("bad_spec", err.Error())
	}
	blob, s := spec.Append(nil), k.slots[spec.ID]
	if s == nil {
		place := slices.Index(k.places, nil)
		if place < 0 {
			place = len(k.places)
		}
		if place >= records.MaxSlots {
			return no("too_many", "all slots of this keeper are taken")
		}
		s = &slot{place: place, proc: noProc}
		s.rec.Slot.ID = spec.ID
	} else if s.rec.Slot.SpecHash == keeperwire.Sum(blob) && s.rec.SpecLen > 0 {
		return nil
	}
	before := s.rec
	if err := k.state.SaveSpec(s.place, &s.rec, blob); err != nil || !k.save(s) {
		s.rec = before
		return errNoRecord
	}
	k.seat(s, *spec)
	k.pumper.Limit(s.place, limits(&s.spec))
	return nil
}

var errNoRecord = no("no_record", "the run directory does not take the record")

// remove forgets a slot, and what is in the file system for it. Its log stays.
func (k *keeper) remove(s *slot) error {
	if s.busy() {
		return no("not_stopped", s.rec.Slot.ID+" runs: stop it first")
	}
	if k.state.Free(s.place) != nil {
		return errNoRecord
	}
	k.pumper.Forget(s.place)
	for i := range pipeNames {
		_ = syscall.Unlink(k.pipeAt(s, i))
	}
	_ = syscall.Rmdir(k.pipeDir(s))
	k.trees.Remove(s.rec.Cgroup)
	k.trees.Remove(s.spec.Cgroup)
	delete(k.slots, s.rec.Slot.ID)
	k.places[s.place] = nil
	return nil
}

func (k *keeper) held(name string) int {
	if fd, ok := k.fds[name]; ok {
		return fd
	}
	return -1
}

// hold keeps a descriptor under a name, in place of the one before, and starts
// who has waited for it.
func (k *keeper) hold(name string, fds *[]int) error {
	old := k.held(name)
	switch {
	case len(*fds) != 1:
		return no("bad_fd", "want exactly one descriptor")
	case name == "" || len(name) > 255 || strings.ContainsAny(name, ":\n\x00"):
		return no("bad_fd", "want a name without colon and line break")
	case old < 0 && len(k.fds) >= maxHeld:
		return no("too_many", "too many descriptors are held")
	}
	sys.CloseFD(&old)
	k.fds[name], *fds = (*fds)[0], nil
	for _, s := range k.slots {
		if s.waits == name {
			k.start(s)
		}
	}
	return nil
}
