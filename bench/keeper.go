package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/host/proc/keeperclient"
)

// Sizes and times of the keeper's bench.
const (
	adopted    = 100
	startsMany = 5 * time.Minute  // 1 000 instances, on a slow machine
	settle     = 3 * time.Second  // from the last start to quiet
	forgiven   = 12 * time.Second // well for so long, and the first death of a role is restarted at once again
)

// goalsOfMemory are of the keeper's private memory, by children: of what it has
// written. Pages of its program are in memory once, however many run it.
var goalsOfMemory = []struct{ children, mb int }{{1, 3}, {100, 4}, {1000, 8}}

func keeperBench(ctx context.Context, r *report) error {
	r.note("instances of a static C program that sleeps; private memory is what only that process can have: what it has written; in brackets stand pages of its program in the page cache, which others that run it share (both are Private_* of smaps_rollup while nobody else does); idle for %v",
		r.pick(10*time.Second, 2*time.Second))
	var rows [][]string
	for _, g := range goalsOfMemory {
		if r.short && g.children > adopted {
			r.note("%d children: not in the short form", g.children)
			continue
		}
		row, c, err := withChildrenUp(ctx, r, g.children)
		if err != nil {
			return fmt.Errorf("%d children: %w", g.children, err)
		}
		rows = append(rows, row)
		r.goal(fmt.Sprintf("keeper, private memory at %d", g.children), mb(c.written), fmt.Sprintf("≤ %d MB", g.mb), c.written <= g.mb*1e6)
		r.figure(fmt.Sprintf("keeper, with the pages of its program at %d", g.children), mb(c.written+c.pages))
	}
	r.table([]string{"children", "all ready after", "keeper private", "CPU", "wakeups/s", "agent private", "CPU", "wakeups/s"}, rows)
	return adoption(ctx, r)
}

// mb prints bytes in megabytes of 10^6.
func mb(bytes int) string { return fmt.Sprintf("%.2f MB", float64(bytes)/1e6) }

// crowd starts n sleepers and returns when all are up, and how long that took.
func crowd(ctx context.Context, w *workplace, n int) (*node, time.Duration, error) {
	child, err := compileChild(ctx, w.dir)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	nd, err := up(w.dir, fmt.Sprintf(`schema: 1
services:
  c:
    run: { exec: [%s, /dev/null], user: "%s" }
    replicas: %d
    restart: { reset_after: 1s, limit: 100000/1m }
    deploy: { min_ready: 0s, max_surge: %d }
`, child, owner(), n, n))
	if err != nil {
		return nil, 0, err
	}
	if err := nd.whole(ctx, "c", n, startsMany); err != nil {
		nd.stop()
		return nil, 0, err
	}
	return nd, time.Since(began), nil
}

func withChildrenUp(ctx context.Context, r *report, n int) (row []string, keeper cost, err error) {
	w, err := newWorkplace("keeper")
	if err != nil {
		return nil, cost{}, err
	}
	defer w.close()
	nd, took, err := crowd(ctx, w, n)
	if err != nil {
		return nil, cost{}, err
	}
	defer nd.stop()
	s, err := nd.client.Status(ctx)
	if err != nil {
		return nil, cost{}, err
	}
	if err := pause(ctx, settle); err != nil {
		return nil, cost{}, err
	}
	pids := []int{s.Role("keeper").PID, s.Role("agent").PID}
	costs, err := idle(ctx, pids, r.pick(10*time.Second, 2*time.Second))
	if err != nil {
		return nil, cost{}, err
	}
	row = []string{strconv.Itoa(n), fmt.Sprintf("%.2f s", took.Seconds())}
	for _, c := range costs {
		row = append(row, fmt.Sprintf("%s (+ %s)", mb(c.written), mb(c.pages)), fmt.Sprintf("%.2f %%", c.cpu), fmt.Sprintf("%.1f", c.wakeups))
	}
	return row, costs[0], nil
}

// cost is what a process takes when nothing happens.
type cost struct {
	written, pages int     // private memory
	cpu            float64 // percent of one CPU
	wakeups        float64 // a second
}

func idle(ctx context.Context, pids []int, d time.Duration) ([]cost, error) {
	costs := make([]cost, len(pids))
	cpu, woken := make([]time.Duration, len(pids)), make([]int, len(pids))
	for i, pid := range pids {
		cpu[i], woken[i] = cpuTime(pid), wakeups(pid)
	}
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	for i, pid := range pids {
		written, pages, err := privateMemory(pid)
		if err != nil {
			return nil, err
		}
		costs[i] = cost{written, pages, 100 * (cpuTime(pid) - cpu[i]).Seconds() / d.Seconds(), float64(wakeups(pid)-woken[i]) / d.Seconds()}
	}
	return costs, nil
}

// adoption kills the agent and the keeper in turn and measures until the next
// one has all instances, and they are the same processes.
func adoption(ctx context.Context, r *report) error {
	w, err := newWorkplace("adopt")
	if err != nil {
		return err
	}
	defer w.close()
	nd, _, err := crowd(ctx, w, adopted)
	if err != nil {
		return err
	}
	defer nd.stop()
	took := map[string][]time.Duration{}
	for range r.rounds(10, 3) {
		for _, name := range []string{"agent", "keeper"} {
			if err := pause(ctx, forgiven); err != nil {
				return err
			}
			d, err := adopt(ctx, nd, name)
			if err != nil {
				return fmt.Errorf("kill the %s: %w", name, err)
			}
			took[name] = append(took[name], d)
		}
	}
	var rows [][]string
	for _, name := range []string{"agent", "keeper"} {
		d := took[name]
		rows = append(rows, []string{name, strconv.Itoa(len(d)), ms(quantile(d, 0.5)), ms(slices.Min(d)), ms(slices.Max(d))})
		r.figure(fmt.Sprintf("%d instances adopted after kill -9 of the %s, median", adopted, name), ms(quantile(d, 0.5)))
	}
	r.note("from kill -9 until the next one lists the same %d processes; the keeper is asked itself, the agent by its status", adopted)
	r.table([]string{"killed", "times", "median", "min", "max"}, rows)
	return nil
}

func adopt(ctx context.Context, nd *node, name string) (time.Duration, error) {
	before, err := nd.client.Status(ctx)
	if err != nil {
		return 0, err
	}
	pids := pidsOf(before)
	victim := before.Role(name).PID
	if len(pids) != adopted || victim == 0 {
		return 0, fmt.Errorf("%d instances and %s %d before the kill", len(pids), name, victim)
	}
	at := time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return 0, err
	}
	err = await(ctx, appears, time.Millisecond, func() string { return unlessAdopted(ctx, nd, name, victim, pids) })
	took := time.Since(at)
	if err != nil {
		return 0, err
	}
	// Whoever was killed, in the end the status has to say so too.
	err = nd.until(ctx, appears, func(s api.Status) string {
		if s.Role(name).PID == victim || !slices.Equal(pidsOf(s), pids) {
			return "status does not show the same instances"
		}
		return unlessWhole(s, "c", adopted)
	})
	return took, err
}

func unlessAdopted(ctx context.Context, nd *node, name string, victim int, pids []int) string {
	if name == "keeper" {
		listed, err := keeperList(ctx, filepath.Join(nd.dirs.Keeper(), "sock"), victim)
		switch {
		case err != nil:
			return err.Error()
		case !slices.Equal(listed, pids):
			return fmt.Sprintf("the keeper lists %d instances", len(listed))
		}
		return ""
	}
	s, err := nd.client.Status(ctx)
	switch {
	case err != nil:
		return err.Error()
	case s.Role(name).PID == victim || !slices.Equal(pidsOf(s), pids):
		return "status does not show the same instances"
	}
	return unlessWhole(s, "c", adopted)
}

func pidsOf(s api.Status) (pids []int) {
	for _, i := range s.Service("c").Instances {
		pids = append(pids, i.PID)
	}
	slices.Sort(pids)
	return pids
}

// keeperList asks a keeper other than victim for what it runs.
func keeperList(ctx context.Context, socket string, victim int) (pids []int, err error) {
	k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: socket})
	if err != nil {
		return nil, err
	}
	defer func() { _ = k.Close() }()
	if int(k.Welcome().PID) == victim {
		return nil, errors.New("the old keeper is still there")
	}
	slots, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range slots {
		if len(s.ID) > 2 && s.ID[:2] == "c-" {
			pids = append(pids, int(s.PID))
		}
	}
	slices.Sort(pids)
	return pids, nil
}
