package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
)

// Options are how the demonstration is shown.
type Options struct {
	Out      io.Writer
	In       io.Reader // what the visitor types; used on a terminal only
	Terminal bool      // somebody watches: acts are shown while they are played, and the last is theirs
	Width    int       // of the terminal, in columns; 0 is not known
	Dumb     bool      // the terminal cannot go back in its line
	Report   string    // file of the report; empty is none
	BuiltIn  string    // time the build took, to be shown apart
}

// ErrBroken is wrapped by the error of a demonstration in which a promise was
// not kept.
var ErrBroken = errors.New("a promise was broken")

// longest bounds the whole of it: a stranger does not wait for ever.
const longest = 5 * time.Minute

// Run plays every act and returns an error that wraps [ErrBroken] if a promise
// was not kept.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := o.canReport(); err != nil {
		return err
	}
	s, err := setStage()
	if err != nil {
		return fmt.Errorf("set the stage: %w", err)
	}
	defer s.strike()
	d := &director{Options: o, stage: s, began: time.Now(), client: client.New(client.Options{Socket: s.dirs.API()})}
	d.prologue()
	if err := d.control(ctx); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.close()
	for _, a := range acts() {
		if err := d.play(ctx, a); err != nil {
			return err
		}
	}
	if o.Terminal {
		if err := d.visit(ctx); err != nil {
			return err
		}
	}
	return d.epilogue()
}

// canReport finds out before the evening whether its report can be kept.
func (o Options) canReport() error {
	if o.Report == "" {
		return nil
	}
	f, err := os.OpenFile(o.Report, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return &backstay.Problem{
			Code: "file_unreadable", What: "the report cannot be written: " + err.Error(), Where: o.Report, Do: "name another file with --report",
		}
	}
	return f.Close() //nolint:wrapcheck // nothing was written
}

// director runs the acts and keeps what they cost.
type director struct {
	Options

	stage  *stage
	client *client.Client
	front  *process
	load   *load
	began  time.Time
	first  time.Duration // from `up` to the first answer
	acts   []Act
	live   live
}

// prologue says where this is and shows the file.
func (d *director) prologue() {
	built := ""
	if d.BuiltIn != "" {
		built = "   built in " + d.BuiltIn
	}
	d.say("backstay demo   linux %s, %s, %s%s", kernel(), machine(), rights(), built)
	d.say("shop v1 x3 behind http://%s   file %s (%d lines):\n", d.stage.address(), d.stage.file, strings.Count(d.stage.text, "\n"))
	for line := range strings.Lines(d.stage.text) {
		d.say("    %s", strings.TrimSuffix(line, "\n"))
	}
	d.say("\nload: %d kept connections + %d new/s, every answer checked, no retries", keptConns, newPerSec)
}

// play carries one act out, waits until all is whole again, and judges it.
func (d *director) play(ctx context.Context, a act) error {
	between, err := d.load.take()
	if err != nil {
		return err
	}
	e := &evening{director: d, act: Act{Number: len(d.acts), Title: a.title}}
	e.quiet(between)
	if e.before, err = d.client.Status(ctx); err != nil {
		return fmt.Errorf("act %q: %w", a.title, err)
	}
	e.began = time.Now()
	over := d.during(d.load, a.title)
	if err = a.do(ctx, e); err == nil {
		wait(ctx, afterwards)
	}
	over()
	if err != nil {
		return fmt.Errorf("act %q: %w", e.act.Title, err)
	}
	t, err := d.load.take()
	if err != nil {
		return err
	}
	e.act.Broken = append(e.act.Broken, a.judge(e, t)...)
	e.act.fill(t)
	d.finish(e.act, t)
	return ctx.Err() //nolint:wrapcheck // told to end
}

// afterwards is how long the load goes on when all is whole again: what is only
// seemingly whole fails then.
const afterwards = time.Second

func (d *director) finish(a Act, t Tally) {
	a.P50, a.P99 = t.P50, t.P99
	d.acts = append(d.acts, a)
	d.say("%s", a.line())
	for _, s := range a.Detail {
		d.say("     %s", s)
	}
	for _, s := range a.Broken {
		d.say("     BROKEN: %s", s)
	}
}

// status asks until it is answered: an agent that was killed is back in a moment.
func (d *director) status(ctx context.Context) (api.Status, error) {
	for {
		s, err := d.client.Status(ctx)
		if err == nil || ctx.Err() != nil {
			return s, err //nolint:wrapcheck // it tells its story
		}
		wait(ctx, look)
	}
}
