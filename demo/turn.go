package demo

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// turnFor is how long the stage is the visitor's.
const turnFor = 30 * time.Second

// visit gives the stage to the visitor: what there is to kill is shown, and each
// blow becomes an act that is told and not judged.
func (d *director) visit(ctx context.Context) error {
	before, err := d.status(ctx)
	if err != nil {
		return fmt.Errorf("your turn: %w", err)
	}
	d.say("%2d your turn, %s: kill -9 what you like, curl http://%s (Enter ends)", len(d.acts), turnFor, d.stage.address())
	d.say("     %s", strings.Join(targets(before), " · "))
	turn, over := context.WithTimeout(ctx, turnFor)
	defer over()
	go enter(d.In, over) // ends with the process, if nobody presses a key
	acts := len(d.acts)
	for turn.Err() == nil {
		now, err := d.status(turn)
		if err != nil {
			break // the turn is over
		}
		if len(struck(before, now)) > 0 {
			if err := d.blow(ctx, before); err != nil {
				return err
			}
			before, err = d.status(ctx)
			if err != nil {
				return fmt.Errorf("your turn: %w", err)
			}
		}
		wait(turn, look)
	}
	if len(d.acts) == acts {
		d.say("     nothing was killed")
	}
	return ctx.Err() //nolint:wrapcheck // told to end
}

// enter calls over when a line was typed. An input that ends has no keys.
func enter(in interface{ Read([]byte) (int, error) }, over func()) {
	if in == nil {
		return
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err == nil {
		over()
	}
}

// targets names what can be killed, with its pid.
func targets(s api.Status) (all []string) {
	for _, r := range s.Roles {
		all = append(all, fmt.Sprintf("%s %d", r.Name, r.PID))
	}
	for _, service := range s.Services {
		for _, i := range service.Instances {
			all = append(all, fmt.Sprintf("%s %d", i.ID, i.PID))
		}
	}
	return all
}

// blow waits until what the visitor has struck is whole again, and tells what it
// cost.
func (d *director) blow(ctx context.Context, before api.Status) error {
	e := &evening{director: d, before: before, killed: time.Now(), act: Act{Number: len(d.acts), Unjudged: true}}
	seen := e.killed
	_, unhealed := e.heals(ctx)
	whole := time.Now()
	wait(ctx, afterwards)
	now, err := d.status(ctx)
	if err != nil {
		return fmt.Errorf("your turn: %w", err)
	}
	hit := struck(before, now)
	e.act.Title = "you " + deed(hit)
	e.act.Healed = whole.Sub(first(hit, seen))
	if unhealed != nil {
		e.act.Healed, e.act.Detail = 0, []string{unhealed.Error()}
	}
	t, err := d.load.take()
	if err != nil {
		return err
	}
	e.act.fill(t)
	d.finish(e.act, t)
	return nil
}

// hit is one thing that the visitor has struck.
type hit struct {
	name string
	last *backstay.Exit // how its run before ended, if that is known
}

// struck returns what is another process in now than it was in before, or is not
// as it should be.
func struck(before, now api.Status) (all []hit) {
	was := map[string]int{}
	for _, r := range before.Roles {
		was[r.Name] = r.PID
	}
	for _, i := range instances(before) {
		was[i.ID] = i.PID
	}
	for _, r := range now.Roles {
		if !r.Running || r.PID != was[r.Name] {
			all = append(all, hit{"the " + r.Name, r.Last})
		}
	}
	for _, i := range instances(now) {
		if !i.Serves() || i.PID != was[i.ID] {
			all = append(all, hit{i.ID, i.Last})
		}
	}
	return all
}

func instances(s api.Status) (all []api.Instance) {
	for _, service := range s.Services {
		all = append(all, service.Instances...)
	}
	return all
}

// deed says what was done: "killed shop-1c44d0 and the keeper".
func deed(all []hit) string {
	verb, names := "killed ", ""
	for n, h := range all {
		switch {
		case n > 0 && n == len(all)-1:
			names += " and "
		case n > 0:
			names += ", "
		}
		names += h.name
		if h.last == nil || h.last.Reason != "" { // ended by us, for it hung
			verb = "struck "
		}
	}
	if len(all) == 0 {
		return "struck something that was whole at once"
	}
	return verb + names
}

// first is when the first of all was struck, as far as its end was seen; the
// moment it was noticed if not.
func first(all []hit, noticed time.Time) time.Time {
	at := noticed
	for _, h := range all {
		if h.last != nil && h.last.Reason == "" && h.last.At.Before(at) && noticed.Sub(h.last.At) < healWithin {
			at = h.last.At
		}
	}
	return at
}
