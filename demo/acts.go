package demo

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// act is one thing that is done to the stage, and what was promised about it.
type act struct {
	title string
	do    func(context.Context, *evening) error
	judge func(*evening, Tally) (broken []string)
}

// evening is one act while it is played.
type evening struct {
	*director

	act     Act
	before  api.Status
	began   time.Time
	killed  time.Time      // when the blow fell
	open    int            // connections then
	printed map[string]int // lines in the logs then, by pid
	died    time.Time      // of the first instance of a bad release
}

func acts() []act {
	return []act{
		{title: "kill -9 an instance", do: killInstance, judge: nothingFailed},
		{title: "freeze an instance (SIGSTOP)", do: freezeInstance, judge: nothingFailed},
		{title: "kill -9 the agent", do: killRoles("agent"), judge: nothingFailed},
		{title: "kill -9 the keeper", do: killRoles("keeper"), judge: nothingLost},
		{title: "kill -9 agent, keeper and an instance", do: killAll, judge: nothingLost},
		{title: "kill -9 the proxy", do: killRoles("proxy"), judge: nothingRefused},
		{title: "apply a broken file", do: applyBroken, judge: nothingFailed},
		{title: "deploy shop --version v2", do: deployGood, judge: nothingFailed},
		{title: "deploy shop --version v3 (dies young)", do: deployBad, judge: badLeft},
	}
}

func nothingFailed(_ *evening, t Tally) (broken []string) {
	if t.Failed > 0 {
		broken = append(broken, fmt.Sprintf("%d requests failed, promised 0; the first: %s", t.Failed, t.Failures[0].What))
	}
	if t.Sent == 0 {
		broken = append(broken, "nothing was sent")
	}
	return broken
}

// badLeft adds when the release that died last answered: what is told is a time,
// and no promise.
func badLeft(e *evening, t Tally) []string {
	last, answered := t.LastBy["v3"]
	switch {
	case !answered:
		e.detail("v3 never answered")
	case e.died.IsZero():
	case time.Unix(0, last).After(e.died):
		e.detail("last answer by v3 %s after its first death", ms(time.Unix(0, last).Sub(e.died)))
	default:
		e.detail("no answer by v3 after its first death")
	}
	return nothingFailed(e, t)
}

// nothingLost adds that every line the instances have printed is in their logs.
func nothingLost(e *evening, t Tally) []string {
	broken := nothingFailed(e, t)
	switch lost, lines, _, err := e.lostLines(); {
	case err != nil:
		broken = append(broken, "logs not read: "+err.Error())
	case lost > 0:
		broken = append(broken, fmt.Sprintf("%d of %d log lines lost", lost, lines))
	default:
		e.act.Detail = append(e.act.Detail, fmt.Sprintf("%d log lines, 0 lost", lines))
	}
	return broken
}

// logsGoOn waits until the log of every process that went on over the blow does:
// each is asked all the time and says so, but a keeper reads that when it can.
func (e *evening) logsGoOn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	for {
		_, _, last, err := e.lostLines()
		mute := e.mute(last)
		switch {
		case err == nil && mute == "":
			return
		case ctx.Err() != nil && err == nil:
			e.act.Broken = append(e.act.Broken, fmt.Sprintf("%s lives, and within %v of the blow nothing has come into its log", mute, healWithin))
			return
		case ctx.Err() != nil:
			return // the judge meets the error again
		}
		wait(ctx, look)
	}
}

// mute returns a process that went on over the blow and whose log did not.
func (e *evening) mute(last map[string]int) string {
	for pid, was := range e.printed {
		if n, err := strconv.Atoi(pid); err == nil && last[pid] == was && runs(n, e.stage.dir) {
			return "pid " + pid
		}
	}
	return ""
}

// nothingRefused is the promise about the proxy: what is in flight in it dies
// with it, and nothing else does.
func nothingRefused(e *evening, t Tally) (broken []string) {
	e.open = t.openAt(e.open, e.killed)
	e.act.Promised = e.open
	if t.Refused > 0 {
		broken = append(broken, fmt.Sprintf("%d connections refused, promised 0", t.Refused))
	}
	if t.Failed > e.open {
		broken = append(broken, fmt.Sprintf("%d requests failed, %d connections were open", t.Failed, e.open))
	}
	for _, f := range t.Failures {
		if f.Opened > e.killed.UnixNano() {
			broken = append(broken, "a request failed on a connection opened after the kill: "+f.What)
			break
		}
	}
	e.act.Detail = append(e.act.Detail, fmt.Sprintf("%d refused; %d connections were open: promise <= %d", t.Refused, e.open, e.open))
	return broken
}

// openAt returns how many connections were open at a moment since the tally
// began, when there were so many.
func (t Tally) openAt(begun int, at time.Time) int {
	for _, opened := range t.Opens {
		if opened <= at.UnixNano() {
			begun++
		}
	}
	for _, closed := range t.Closes {
		if closed <= at.UnixNano() {
			begun--
		}
	}
	return begun
}

// look is how often the state is looked at while an act heals.
const look = 10 * time.Millisecond

// heals waits until every instance is ready and every role runs, as other
// processes than those that were struck.
func (e *evening) heals(ctx context.Context, struck ...int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	missing := "no agent answers"
	for {
		s, err := e.status(ctx)
		if err != nil {
			return 0, fmt.Errorf("not whole after %v: %s: %w", healWithin, missing, err)
		}
		if missing = notWhole(s, struck); missing == "" {
			return time.Since(e.killed), nil
		}
		wait(ctx, look)
	}
}

// healWithin only guards against a demonstration that hangs.
const healWithin = 30 * time.Second

// notWhole returns what is missing, or nothing.
func notWhole(s api.Status, struck []int) string {
	for _, r := range s.Roles {
		if !r.Running || slices.Contains(struck, r.PID) {
			return "the " + r.Name + " does not run"
		}
	}
	n := 0
	for _, service := range s.Services {
		for _, i := range service.Instances {
			if i.State != backstay.Running || !i.Ready || i.Drained || i.PID == 0 || slices.Contains(struck, i.PID) {
				return fmt.Sprintf("%s is %s, ready %v: %s", i.ID, i.State, i.Ready, i.Because)
			}
			n++
		}
	}
	if n != replicas || len(s.Roles) != roles {
		return fmt.Sprintf("%d instances and %d roles are there, not %d and %d", n, len(s.Roles), replicas, roles)
	}
	return ""
}

// What there is when all is whole.
const (
	replicas = 3
	roles    = 3
)

// strike does the blow and remembers when.
func (e *evening) strike(blow func() error) error {
	t, err := e.load.take()
	if err != nil {
		return err
	}
	e.quiet(t)
	_, _, e.printed, _ = e.lostLines() // where they cannot be read, the judge says so
	e.open, e.killed = t.Open, time.Now()
	return blow()
}

// quiet takes what the load saw while nothing was done: what fails then is
// nobody's but ours, and is not forgotten between two acts.
func (e *evening) quiet(t Tally) {
	e.act.Sent += t.Sent
	if t.Failed == 0 {
		return
	}
	e.act.Failed += t.Failed
	e.act.Broken = append(e.act.Broken, fmt.Sprintf("%d requests failed before anything was done; the first: %s", t.Failed, t.Failures[0].What))
}

func (e *evening) instances() []api.Instance { return e.before.Services[0].Instances }

func (e *evening) role(name string) int {
	for _, r := range e.before.Roles {
		if r.Name == name {
			return r.PID
		}
	}
	return 0
}

func killInstance(ctx context.Context, e *evening) error {
	i := e.instances()[0]
	e.act.Title = fmt.Sprintf("kill -9 %s (pid %d)", i.ID, i.PID)
	if err := e.strike(func() error { return kill(i.PID) }); err != nil {
		return err
	}
	took, err := e.heals(ctx, i.PID)
	if err != nil {
		return err
	}
	e.act.Healed = took
	now, err := e.status(ctx)
	if err != nil {
		return err
	}
	for _, j := range now.Services[0].Instances {
		if j.ID == i.ID {
			e.detail("back as pid %d: exec after %s, ready after %s; its last run: %s", j.PID, ms(j.Started.Sub(e.killed)), ms(took), j.Last)
		}
	}
	return nil
}

func (e *evening) detail(format string, args ...any) {
	e.act.Detail = append(e.act.Detail, fmt.Sprintf(format, args...))
}

// told adds what a command has printed, with the directory of the stage left out.
func (e *evening) told(out string) {
	for line := range strings.Lines(strings.ReplaceAll(out, e.stage.dir+"/", "")) {
		e.detail("%s", strings.TrimRight(line, "\n"))
	}
}

func freezeInstance(ctx context.Context, e *evening) error {
	i := e.instances()[1]
	e.act.Title = "freeze " + i.ID + " (SIGSTOP)"
	if err := e.strike(func() error { return freeze(i.PID) }); err != nil {
		return err
	}
	out, err := e.leaves(ctx, i.ID)
	if err != nil {
		return err
	}
	took, err := e.heals(ctx, i.PID)
	e.act.Healed = took
	e.detail("out of traffic after %s, replaced after %s", ms(out), ms(took))
	return err
}

// leaves waits until an instance takes no traffic any more.
func (e *evening) leaves(ctx context.Context, id string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	for {
		s, err := e.status(ctx)
		if err != nil {
			return 0, fmt.Errorf("%s still takes traffic: %w", id, err)
		}
		for _, i := range s.Services[0].Instances {
			if i.ID == id && !i.Ready {
				return time.Since(e.killed), nil
			}
		}
		wait(ctx, look)
	}
}

func killRoles(name string) func(context.Context, *evening) error {
	return func(ctx context.Context, e *evening) error {
		pid := e.role(name)
		e.act.Title = fmt.Sprintf("kill -9 the %s (pid %d)", name, pid)
		if err := e.strike(func() error { return kill(pid) }); err != nil {
			return err
		}
		took, err := e.heals(ctx, pid)
		e.act.Healed = took
		if err == nil {
			e.logsGoOn(ctx)
			err = e.samePIDs(ctx)
		}
		return err
	}
}

// samePIDs checks that nobody but what was struck is another process.
func (e *evening) samePIDs(ctx context.Context) error {
	now, err := e.status(ctx)
	if err != nil {
		return err
	}
	for n, i := range now.Services[0].Instances {
		if was := e.instances()[n]; was.PID != i.PID {
			e.act.Broken = append(e.act.Broken, fmt.Sprintf("%s was pid %d and is pid %d", i.ID, was.PID, i.PID))
		}
	}
	e.detail("%d instances went on as the same processes", len(now.Services[0].Instances))
	return nil
}

func killAll(ctx context.Context, e *evening) error {
	i := e.instances()[2]
	pids := []int{e.role("agent"), e.role("keeper"), i.PID}
	e.act.Title = "kill -9 agent, keeper and " + i.ID
	if err := e.strike(func() error { return kill(pids...) }); err != nil {
		return err
	}
	took, err := e.heals(ctx, pids...)
	e.act.Healed = took
	if err == nil {
		e.logsGoOn(ctx)
	}
	return err
}

func applyBroken(ctx context.Context, e *evening) error {
	e.killed = time.Now()
	out, status, err := e.stage.command(ctx, "apply", e.stage.broken)
	if err != nil {
		return err
	}
	e.told(out)
	if status != int(backstay.ExitUsage) {
		e.act.Broken = append(e.act.Broken, fmt.Sprintf("apply ended with %d, promised %d", status, backstay.ExitUsage))
	}
	now, err := e.status(ctx)
	if err != nil {
		return err
	}
	if now.Config.Digest != e.before.Config.Digest {
		e.act.Broken = append(e.act.Broken, "another file is in force")
	} else {
		e.detail("the file in force is the one before, exit %d", status)
	}
	return e.samePIDs(ctx)
}

func deployGood(ctx context.Context, e *evening) error {
	return e.deploy(ctx, "v2", backstay.ExitOK, "v2")
}

func deployBad(ctx context.Context, e *evening) error {
	return e.deploy(ctx, "v3", backstay.ExitRolledBack, "v2")
}

// deploy runs the command and checks how it ended and who answers then.
func (e *evening) deploy(ctx context.Context, version string, want backstay.ExitCode, after string) error {
	e.killed = time.Now()
	out, status, err := e.stage.command(ctx, "deploy", "shop", "--version", version)
	if err != nil {
		return err
	}
	e.act.Healed = time.Since(e.killed)
	e.died = e.firstDeath(ctx)
	e.told(out)
	if status != int(want) {
		e.act.Broken = append(e.act.Broken, fmt.Sprintf("deploy ended with %d, promised %d", status, want))
	}
	if _, err := e.heals(ctx); err != nil {
		return err
	}
	now, err := e.status(ctx)
	if err != nil {
		return err
	}
	for _, i := range now.Services[0].Instances {
		if release := now.Services[0].Version; release != after {
			e.act.Broken = append(e.act.Broken, fmt.Sprintf("%s runs %s, promised %s", i.ID, release, after))
		}
	}
	return nil
}

// firstDeath returns when the first instance crashed since the act began.
func (e *evening) firstDeath(ctx context.Context) (at time.Time) {
	_ = e.client.Events(ctx, api.EventQuery{Since: e.began}, func(ev backstay.Event) error {
		if at.IsZero() && ev.Kind == backstay.StateChanged && ev.To == string(backstay.Crashed) {
			at = ev.At
		}
		return nil
	})
	return at
}
