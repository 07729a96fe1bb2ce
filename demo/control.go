package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Times of the control run.
const (
	quietFor   = 1500 * time.Millisecond // before the kill: nothing fails yet
	controlFor = 3 * time.Second         // after it
	upWithin   = 30 * time.Second
)

// control is the same shop and load without Backstay, and one kill: a meter that
// sees no failure then would see none later.
func (d *director) control(ctx context.Context) error {
	var shops []*process
	defer func() {
		for _, p := range shops {
			p.end(syscall.SIGKILL, time.Second)
		}
	}()
	var addresses []string
	for i := range 3 {
		held, _, err := freePort()
		if err != nil {
			return err
		}
		address := held.Addr().String()
		_ = held.Close() // for the shop
		p, err := start(d.stage.dir, fmt.Sprintf("control-%d", i), filepath.Join(d.stage.dir, "shop", "v1", "shop"), "--listen", address, "--version", "v1")
		if err != nil {
			return err
		}
		shops, addresses = append(shops, p), append(addresses, address)
		if err := answers(ctx, address); err != nil {
			return err
		}
	}
	l, err := startLoad(d.stage.program, addresses...)
	if err != nil {
		return err
	}
	defer l.stop()
	a := Act{Title: "control: the shop WITHOUT backstay, kill -9"}
	quiet, t, err := d.killOne(ctx, l, a.Title, shops[0])
	if err != nil {
		return err
	}
	a.fill(quiet)
	a.fill(t)
	a.Detail = []string{"the meter works"}
	if quiet.Failed > 0 {
		a.Broken = append(a.Broken, fmt.Sprintf("%d requests failed before the kill; the first: %s", quiet.Failed, quiet.Failures[0].What))
	}
	if t.Failed == 0 {
		a.Detail, a.Broken = nil, append(a.Broken, "the meter counted no failure: it proves nothing")
	}
	d.finish(a, t)
	return nil
}

// killOne returns what the load has met before and after the death of a shop that
// nobody looks after.
func (d *director) killOne(ctx context.Context, l *load, title string, shop *process) (quiet, after Tally, err error) {
	defer d.during(l, title)()
	wait(ctx, quietFor)
	if quiet, err = l.take(); err != nil {
		return quiet, after, err
	}
	if err := kill(shop.pid()); err != nil {
		return quiet, after, err
	}
	wait(ctx, controlFor)
	after, err = l.take()
	return quiet, after, err
}

// answers waits until a shop answers at address.
func answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	m := newMeter()
	for {
		if c := m.dial(ctx, address); c != nil {
			_, _, err := exchange(c, "first", false)
			m.close(c)
			if err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no answer at %s within %v", address, upWithin)
		}
		wait(ctx, look)
	}
}

// open starts Backstay and the load.
func (d *director) open(ctx context.Context) error {
	_ = d.stage.held.Close() // for Backstay
	began := time.Now()
	front, err := start(d.stage.dir, "front", d.stage.up()...)
	if err != nil {
		return err
	}
	d.front = front
	if err := answers(ctx, d.stage.address()); err != nil {
		out, _ := os.ReadFile(filepath.Join(d.stage.dir, "front.out"))
		d.close()
		return fmt.Errorf("backstay up: %w; it said:\n%s", err, out)
	}
	d.first = time.Since(began)
	e := &evening{director: d, killed: began}
	if _, err := e.heals(ctx); err != nil {
		out, _ := os.ReadFile(filepath.Join(d.stage.dir, "front.out"))
		d.close()
		return fmt.Errorf("%w; backstay up said:\n%s", err, out)
	}
	if d.load, err = startLoad(d.stage.program, d.stage.address()); err != nil {
		d.close()
		return err
	}
	wait(ctx, quietFor)
	return nil
}

// stopWithin is how long draining and stopping everything may take.
const stopWithin = 40 * time.Second

func (d *director) close() {
	if d.load != nil {
		d.load.stop()
	}
	d.takeOver()
	d.front.end(syscall.SIGINT, stopWithin)
}

// takeOver has another front where the visitor has killed the one there was: it
// takes over what runs, and can then be told to end it.
func (d *director) takeOver() {
	select {
	case <-d.front.done:
	default:
		return
	}
	next, err := start(d.stage.dir, "front", d.stage.up()...)
	if err != nil {
		return // nothing more can be done
	}
	d.front = next
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	for ctx.Err() == nil {
		out, _ := os.ReadFile(filepath.Join(d.stage.dir, "front.out"))
		if bytes.Contains(out, []byte("backstay: up")) {
			return
		}
		wait(ctx, look)
	}
}

func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

// lostLines counts the lines that the shops have numbered and that are not in
// their logs, or not in their order. last is the newest number of each pid.
func (e *evening) lostLines() (lost, lines int, last map[string]int, err error) {
	last = map[string]int{}
	files, err := filepath.Glob(filepath.Join(e.stage.dirs.Log, "shop", "*.log*"))
	if err != nil {
		return 0, 0, nil, err //nolint:wrapcheck // cannot be
	}
	for _, f := range files {
		if strings.HasSuffix(f, ".idx") || !strings.HasSuffix(f, ".log") {
			continue
		}
		l, n, err := lostIn(f, last)
		if err != nil {
			return 0, 0, nil, err
		}
		lost, lines = lost+l, lines+n
	}
	if lines == 0 {
		return 0, 0, nil, errors.New("there are none")
	}
	return lost, lines, last, nil
}

// lostIn counts in one file: each line begins with a pid and its number in the
// life of that process, the newest of which goes into last.
func lostIn(file string, last map[string]int) (lost, lines int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, fmt.Errorf("read log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	in := bufio.NewScanner(f)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) < 2 {
			continue
		}
		n, err := strconv.Atoi(words[1])
		if _, pidErr := strconv.Atoi(words[0]); err != nil || pidErr != nil {
			continue // a last word on stderr
		}
		lines++
		if n != last[words[0]]+1 {
			lost++
		}
		last[words[0]] = n
	}
	return lost, lines, in.Err() //nolint:wrapcheck // it names the file
}
