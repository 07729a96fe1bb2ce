package keeper_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// client is the agent's end, for tests.
type client struct {
	t      *testing.T
	c      *net.UnixConn
	n      uint32
	events []keeperwire.Event
	fds    []int
}

func (n *node) dial() *client {
	n.t.Helper()
	c, err := n.tryDial()
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) tryDial() (*client, error) {
	deadline := time.Now().Add(hang)
	for {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: n.dir + "/sock", Net: "unixpacket"})
		if err == nil {
			cl := &client{t: n.t, c: c}
			n.t.Cleanup(func() { _ = c.Close() })
			if _, err = cl.try(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}); err == nil {
				return cl, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
}

// read reads a frame; events go to the side.
func (c *client) read() (keeperwire.Msg, error) {
	buf, oob := make([]byte, keeperwire.MaxFrame), make([]byte, 128)
	_ = c.c.SetReadDeadline(time.Now().Add(hang))
	k, oobn, _, _, err := c.c.ReadMsgUnix(buf, oob)
	if err != nil {
		return keeperwire.Msg{}, err
	}
	if k == 0 {
		return keeperwire.Msg{}, errors.New("the keeper hung up")
	}
	if msgs, err := syscall.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) > 0 {
		c.fds, _ = syscall.ParseUnixRights(&msgs[0])
	}
	return keeperwire.Decode(buf[:k])
}

// try asks, and waits for the answer.
func (c *client) try(m keeperwire.Msg, fds ...int) (keeperwire.Msg, error) {
	c.n++
	m.N = c.n
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	if _, _, err := c.c.WriteMsgUnix(m.Append(nil), oob, nil); err != nil {
		return m, err
	}
	for {
		got, err := c.read()
		switch {
		case err != nil:
			return got, err
		case got.Kind == keeperwire.EventMsg:
			c.events = append(c.events, *got.Event)
		case got.Kind == keeperwire.Err:
			return got, &got
		case got.N == m.N:
			return got, nil
		}
	}
}

// tell sends what is not answered, and sees that it is read.
func (c *client) tell(m keeperwire.Msg) {
	c.t.Helper()
	if _, err := c.c.Write(m.Append(nil)); err != nil {
		c.t.Fatal(err)
	}
	c.n++
	if _, err := c.c.Write((&keeperwire.Msg{Kind: keeperwire.Beat, N: c.n}).Append(nil)); err != nil {
		c.t.Fatal(err)
	}
	got, err := c.read()
	for err == nil && got.Kind == keeperwire.EventMsg {
		c.events = append(c.events, *got.Event)
		got, err = c.read()
	}
	if err != nil || got.N != c.n {
		c.t.Errorf("kind %d was answered: %+v, %v", m.Kind, got, err)
	}
}

func (c *client) do(m keeperwire.Msg, fds ...int) keeperwire.Msg {
	c.t.Helper()
	got, err := c.try(m, fds...)
	if err != nil {
		c.t.Fatalf("kind %d %s: %v", m.Kind, m.ID, err)
	}
	return got
}

// refused asks for what must be answered by an error of code.
func (c *client) refused(code string, m keeperwire.Msg, fds ...int) {
	c.t.Helper()
	got, err := c.try(m, fds...)
	if err == nil || got.Code != code {
		c.t.Errorf("kind %d: want %s, got %v %v", m.Kind, code, got, err)
	}
}

func (c *client) put(s keeperwire.Spec) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Put, Spec: &s})
}

// start puts s and starts it.
func (c *client) start(s keeperwire.Spec) {
	c.t.Helper()
	c.put(s)
	c.do(keeperwire.Msg{Kind: keeperwire.Start, ID: s.ID})
}

// up starts s and waits until it runs.
func (c *client) up(s keeperwire.Spec) keeperwire.Slot {
	c.t.Helper()
	c.start(s)
	return c.until(s.ID, keeperwire.Running)
}

func (c *client) list() map[string]keeperwire.Slot {
	c.t.Helper()
	got, err := c.tryList()
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *client) tryList() (map[string]keeperwire.Slot, error) {
	c.n++
	m := keeperwire.Msg{Kind: keeperwire.List, N: c.n}
	if _, err := c.c.Write(m.Append(nil)); err != nil {
		return nil, err
	}
	slots := map[string]keeperwire.Slot{}
	for {
		got, err := c.read()
		switch {
		case err != nil:
			return nil, err
		case got.Kind == keeperwire.EventMsg:
			c.events = append(c.events, *got.Event)
		case got.Kind == keeperwire.SlotMsg:
			slots[got.Slot.ID] = *got.Slot
		case got.Kind == keeperwire.End:
			return slots, nil
		}
	}
}

// until waits until the slot is in state.
func (c *client) until(id string, state keeperwire.State) keeperwire.Slot {
	c.t.Helper()
	return c.wait(id, fmt.Sprintf("state %d", state), func(s keeperwire.Slot) bool { return s.State == state })
}

func (c *client) when(id string, ok func(keeperwire.Slot) bool) keeperwire.Slot {
	c.t.Helper()
	return c.wait(id, "another", ok)
}

func (c *client) wait(id, want string, ok func(keeperwire.Slot) bool) keeperwire.Slot {
	c.t.Helper()
	deadline := time.Now().Add(hang)
	for {
		s := c.list()[id]
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s is wanted in %s and stays %+v", id, want, s)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// subscribe asks for events after seq.
func (c *client) subscribe(seq uint64) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Subscribe, Seq: seq})
}

// event waits for the next event that ok wants; those before it are dropped.
func (c *client) event(ok func(keeperwire.Event) bool) keeperwire.Event {
	c.t.Helper()
	for {
		for len(c.events) > 0 {
			e := c.events[0]
			if c.events = c.events[1:]; ok(e) {
				return e
			}
		}
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("the event that is waited for does not come: %v", err)
		}
		if m.Kind == keeperwire.EventMsg {
			c.events = append(c.events, *m.Event)
		}
	}
}

func kind(k keeperwire.Kind, id string) func(keeperwire.Event) bool {
	return func(e keeperwire.Event) bool { return e.Kind == k && e.ID == id }
}

func (c *client) stop(id string) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: id, Text: "test"})
	c.until(id, keeperwire.Stopped)
}

// well reports whether an exit is known and is a success: who is killed has the
// code 0 as well.
func well(x keeperwire.Exit) bool { return x.Known && x.Code == 0 && x.Signal == 0 }
