package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/backstay/backstay/internal/keeperwire"
)

// do sends a request that is answered by OK.
func (c *Client) do(ctx context.Context, what string, m keeperwire.Msg) error {
	if _, err := c.ask(ctx, m, keeperwire.OK); err != nil {
		return fmt.Errorf("keeper: %s: %w", what, err)
	}
	return nil
}

// List returns all instances the keeper has.
func (c *Client) List(ctx context.Context) ([]keeperwire.Slot, error) {
	a, err := c.exchange(ctx, keeperwire.Msg{Kind: keeperwire.List}, nil, keeperwire.End)
	if a.file != nil {
		_ = a.file.Close() // nobody asked for it
	}
	if err != nil {
		return nil, fmt.Errorf("keeper: list: %w", err)
	}
	return a.slots, nil
}

// Put makes an instance or changes it; it does not start it. An equal spec
// changes nothing, another one counts from the next start, its policies at once.
func (c *Client) Put(ctx context.Context, s keeperwire.Spec) error {
	return c.do(ctx, "put "+s.ID, keeperwire.Msg{Kind: keeperwire.Put, Spec: &s})
}

// Start starts an instance, unless it runs.
func (c *Client) Start(ctx context.Context, id string) error {
	return c.do(ctx, "start "+id, keeperwire.Msg{Kind: keeperwire.Start, ID: id})
}

// Stop has an instance end: its signal, its grace, then the kill of its tree. It
// returns when that has begun.
func (c *Client) Stop(ctx context.Context, id, reason string) error {
	return c.do(ctx, "stop "+id, keeperwire.Msg{Kind: keeperwire.Stop, ID: id, Text: reason})
}

// Signal sends a signal to the main process of an instance.
func (c *Client) Signal(ctx context.Context, id string, n int) error {
	return c.do(ctx, "signal "+id, keeperwire.Msg{Kind: keeperwire.Signal, ID: id, Signal: int32(n)}) //nolint:gosec // a signal
}

// Kill kills the whole tree of an instance now. If it is still wanted, it starts
// again as after a crash.
func (c *Client) Kill(ctx context.Context, id, reason string, wanted bool) error {
	return c.do(ctx, "kill "+id, keeperwire.Msg{Kind: keeperwire.Kill, ID: id, Text: reason, Flag: wanted})
}

// Remove has the keeper forget an instance that does not run.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.do(ctx, "remove "+id, keeperwire.Msg{Kind: keeperwire.Remove, ID: id})
}

// SetReady tells whether an instance is ready, in this run of it.
func (c *Client) SetReady(ctx context.Context, id string, ready bool) error {
	return c.do(ctx, "set ready of "+id, keeperwire.Msg{Kind: keeperwire.SetReady, ID: id, Flag: ready})
}

// SetNote keeps a note at an instance, over the death of this process.
func (c *Client) SetNote(ctx context.Context, id string, note []byte) error {
	return c.do(ctx, "set note of "+id, keeperwire.Msg{Kind: keeperwire.SetNote, ID: id, Note: note})
}

// Ack tells that all events up to seq have been dealt with. It is not answered,
// and is read before whatever is asked after it: the keeper reads what was sent
// also when this process has died since.
func (c *Client) Ack(ctx context.Context, seq uint64) error {
	if err := c.send(ctx, keeperwire.Msg{Kind: keeperwire.Ack, Seq: seq}, nil); err != nil {
		return fmt.Errorf("keeper: acknowledge: %w", err)
	}
	return nil
}

// PutFD gives a duplicate of f to the keeper, which holds it under name in place
// of what it had there.
func (c *Client) PutFD(ctx context.Context, name string, f *os.File) error {
	if f == nil {
		return fmt.Errorf("keeper: put file %s: there is none", name)
	}
	a, err := c.exchange(ctx, keeperwire.Msg{Kind: keeperwire.PutFD, Name: name}, f, keeperwire.OK)
	if a.file != nil {
		_ = a.file.Close() // nobody asked for it
	}
	if err != nil {
		return fmt.Errorf("keeper: put file %s: %w", name, err)
	}
	return nil
}

// GetFD returns a duplicate of the file that is held under name.
func (c *Client) GetFD(ctx context.Context, name string) (*os.File, error) {
	return c.file(ctx, "get file "+name, keeperwire.Msg{Kind: keeperwire.GetFD, Name: name})
}

// PidFD returns a descriptor of the main process of an instance.
func (c *Client) PidFD(ctx context.Context, id string) (*os.File, error) {
	return c.file(ctx, "open process of "+id, keeperwire.Msg{Kind: keeperwire.PidFD, ID: id})
}

// file sends a request that is answered by a file.
func (c *Client) file(ctx context.Context, what string, m keeperwire.Msg) (*os.File, error) {
	a, err := c.exchange(ctx, m, nil, keeperwire.OK)
	if err == nil && a.file == nil {
		err = errors.New("no file came with the answer, or too many")
	}
	if err != nil {
		if a.file != nil {
			_ = a.file.Close()
		}
		return nil, fmt.Errorf("keeper: %s: %w", what, err)
	}
	return a.file, nil
}

// ListFDs returns the names of the files that the keeper holds.
func (c *Client) ListFDs(ctx context.Context) ([]string, error) {
	m, err := c.ask(ctx, keeperwire.Msg{Kind: keeperwire.ListFDs}, keeperwire.OK)
	if err != nil {
		return nil, fmt.Errorf("keeper: list files: %w", err)
	}
	if m.Text == "" {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(m.Text, "\n"), "\n"), nil
}

// DropFD has the keeper close the file it holds under name.
func (c *Client) DropFD(ctx context.Context, name string) error {
	return c.do(ctx, "drop file "+name, keeperwire.Msg{Kind: keeperwire.DropFD, Name: name})
}

// Probe runs a command beside an instance. The result comes as an event.
func (c *Client) Probe(ctx context.Context, p keeperwire.Probe) error {
	return c.do(ctx, "probe "+p.ID, keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &p})
}

// Beat tells the keeper that this process lives and returns when the keeper has
// answered, which shows that it does.
func (c *Client) Beat(ctx context.Context) error {
	return c.do(ctx, "beat", keeperwire.Msg{Kind: keeperwire.Beat})
}

// Leave has the keeper end. Its children stay, and the next one adopts them.
func (c *Client) Leave(ctx context.Context) error {
	return c.do(ctx, "leave", keeperwire.Msg{Kind: keeperwire.Leave})
}
