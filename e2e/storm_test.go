package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

const stormShop = `schema: 1
services:
  shop:
    version: v1
    run:
      exec: ["DIR/shop/${version}/shop", --listen, "127.0.0.1:${port.http}", --version, "${version}", --chatter, "200", --data, DIR/data]
      user: USER
    ports: { http: auto }
    replicas: 3
    probes:
      readiness: { http: /healthz, period: 250ms, timeout: 250ms }
      liveness: { http: /livez, period: 500ms, timeout: 500ms, failure_threshold: 3 }
    restart: { reset_after: 1s, limit: 100000/1m }
    stop: { drain: 10s, grace: 5s }
    deploy: { min_ready: 500ms }
frontends:
  web: { bind: ["127.0.0.1:PORT"], routes: [{ to: shop }] }
`

// seed is printed by every test that draws; BACKSTAY_SEED replays it.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("BACKSTAY_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("BACKSTAY_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// Whoever is killed or frozen, alone or two at once, a hundred times under load:
// afterwards the processes are the desired ones, each once, each answering; no
// line of log is lost or doubled, and every exit is known.
func TestStormOfKills(t *testing.T) {
	hosttest.NeedRoot(t, "to count by cgroups")
	random := seed(t)
	n := newNode(t)
	n.installShop(map[string]string{"v1": ""})
	if err := os.MkdirAll(n.dir+"/data", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(n.dir+"/data", 0o777); err != nil {
		t.Fatal(err)
	}
	port := hosttest.FreePort(t)
	n.write(strings.ReplaceAll(stormShop, "PORT", strconv.Itoa(port)))
	n.start()
	ids := idsOf(n.whole("shop", 3))
	l := startLoad(t, fmt.Sprintf("127.0.0.1:%d", port), 8, 5*time.Millisecond)
	for i := range pick(100, 1000) {
		n.strike(random, i)
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
	}
	n.replaced("keeper", n.freeze("keeper"))
	frozen := map[string]int{}
	for _, kind := range []string{"agent", "proxy", "shop"} { // the dice may have killed all that they had frozen
		frozen[kind] = n.freeze(kind)
	}
	last := time.Now()
	for kind, pid := range frozen {
		n.replaced(kind, pid)
	}
	after, since := n.steady()
	s := n.until("all roles run", rolesMissing)
	if took := since.Sub(last); took > 30*time.Second {
		t.Errorf("whole %v after the last blow, promised within 30s", took)
	}
	l.end()
	if got := idsOf(after); !slices.Equal(got, ids) {
		t.Errorf("instances are %v, were %v", got, ids)
	}
	n.onlyDesired(s)
	n.eachAnswers(after)
	n.logsGoOn(after)
	n.linesWhole(ids)
	n.exitsKnown()
	l.eachOrderOnce(n.dir + "/data")
	t.Logf("%d requests, %d failed while proxies and servers were killed", l.sent.Load(), len(l.failures))
}

// steadyFor is how long the same processes must be whole: one that was frozen last
// counts as ready until its probes have failed.
const steadyFor = 4 * time.Second

// steady waits until all is whole and stays so, and returns since when it is.
func (n *node) steady() (all []api.Instance, since time.Time) {
	n.t.Helper()
	for end := time.Now().Add(2 * hang); time.Now().Before(end); time.Sleep(look) {
		now := n.whole("shop", 3)
		if !slices.EqualFunc(all, now, func(a, b api.Instance) bool { return a.PID == b.PID }) {
			all, since = now, time.Now()
		}
		if time.Since(since) > steadyFor {
			return all, since
		}
	}
	n.t.Fatalf("never steady\n%s", n.story())
	return nil, since
}

func idsOf(all []api.Instance) (ids []string) {
	for _, i := range all {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

func rolesMissing(s api.Status) string {
	for _, name := range []string{"keeper", "agent", "proxy"} {
		if r := s.Role(name); !r.Running {
			return name + " does not run"
		}
	}
	return ""
}

// strike kills or freezes one or two of what runs. It reads /proc, not status:
// the agent may be dead.
func (n *node) strike(random *rand.Rand, i int) {
	kinds := []string{"keeper", "agent", "proxy", "shop"}
	for range 1 + random.IntN(2) {
		kind := kinds[random.IntN(len(kinds))]
		pids := n.pidsOf(kind)
		if len(pids) == 0 {
			continue // it is just being started anew
		}
		sig := syscall.SIGKILL
		if random.IntN(4) == 0 {
			sig = syscall.SIGSTOP
		}
		pid := pids[random.IntN(len(pids))]
		_ = syscall.Kill(pid, sig)
		n.t.Logf("%3d %s %s %d", i, backstay.SignalName(int(sig)), kind, pid)
	}
}

// freeze stops a process of one kind as soon as there is one.
func (n *node) freeze(kind string) (pid int) {
	n.t.Helper()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(look) {
		if pids := n.pidsOf(kind); len(pids) > 0 && syscall.Kill(pids[0], syscall.SIGSTOP) == nil {
			n.t.Logf("SIGSTOP %s %d", kind, pids[0])
			return pids[0]
		}
	}
	n.t.Fatalf("there is no %s\n%s", kind, n.story())
	return 0
}

// replaced waits until who hangs has been ended by others.
func (n *node) replaced(kind string, pid int) {
	n.t.Helper()
	for end := time.Now().Add(hang); n.kindOf(pid) == kind; time.Sleep(look) {
		if time.Now().After(end) {
			n.t.Fatalf("the %s, pid %d, is frozen and nobody has ended it\n%s", kind, pid, n.story())
		}
	}
}

// pidsOf returns the processes of one kind.
func (n *node) pidsOf(kind string) (pids []int) {
	for _, pid := range n.processes() {
		if n.kindOf(pid) == kind {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (n *node) kindOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(text), "\x00")
	switch {
	case len(args) > 2 && args[1] == "run" && args[2] == n.dirs.Keeper():
		return "keeper"
	case len(args) > 2 && args[1] == "role":
		return args[2]
	case len(args) > 1 && args[1] == "up":
		return "front"
	case strings.HasPrefix(args[0], n.dir+"/shop/"):
		return "shop"
	default:
		return "other: " + strings.Join(args, " ")
	}
}

// onlyDesired counts the processes by itself, in /proc and in the cgroups, and
// compares them with what status says.
func (n *node) onlyDesired(s api.Status) {
	n.t.Helper()
	want := map[string]int{"front": 1, "keeper": 1, "agent": 1, "proxy": 1, "shop": 3}
	got := map[string]int{}
	for _, pid := range n.processes() {
		got[n.kindOf(pid)]++
	}
	for kind := range got {
		if got[kind] != want[kind] {
			n.t.Errorf("%d processes of kind %s, want %d", got[kind], kind, want[kind])
		}
	}
	var pids []int
	for _, i := range s.Service("shop").Instances {
		pids = append(pids, i.PID)
	}
	slices.Sort(pids)
	if in := n.inCgroups(pids[0]); !slices.Equal(in, pids) {
		n.t.Errorf("in the cgroups of shop are %v, status says %v", in, pids)
	}
	if z := n.zombies(); len(z) > 0 {
		n.t.Errorf("zombies: %v", z)
	}
}

// inCgroups returns the processes in the tree of cgroups that the service of pid
// is in.
func (n *node) inCgroups(pid int) (pids []int) {
	n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		service := filepath.Join(cgroup2(n.t), filepath.Dir(path))
		_ = filepath.WalkDir(service, func(p string, _ os.DirEntry, _ error) error {
			if filepath.Base(p) == "cgroup.procs" {
				procs, _ := os.ReadFile(p)
				for f := range strings.FieldsSeq(string(procs)) {
					v, _ := strconv.Atoi(f)
					pids = append(pids, v)
				}
			}
			return nil
		})
	}
	slices.Sort(pids)
	return pids
}

// cgroup2 returns where the second version of cgroups is mounted.
func cgroup2(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if strings.HasPrefix(after, "cgroup2 ") {
			return strings.Fields(before)[4]
		}
	}
	tb.Fatal("no cgroup2 is mounted")
	return ""
}

// zombies returns the ended children of our processes that stay for longer than
// a moment.
func (n *node) zombies() (pids []int) {
	for range 100 {
		pids = nil
		ours := n.processes()
		all, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, f := range all {
			text, _ := os.ReadFile(f)
			fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
			if len(fields) < 2 || fields[0] != "Z" {
				continue
			}
			if parent, _ := strconv.Atoi(fields[1]); slices.Contains(ours, parent) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				pids = append(pids, pid)
			}
		}
		if len(pids) == 0 {
			return nil
		}
		time.Sleep(5 * look)
	}
	return pids
}

// eachAnswers asks every instance directly.
func (n *node) eachAnswers(all []api.Instance) {
	n.t.Helper()
	for _, i := range all {
		l := startLoad(n.t, fmt.Sprintf("127.0.0.1:%d", i.Ports["http"]), 1, 0)
		l.until(3)
		l.end()
		l.nothingFailed()
	}
}

// logsGoOn waits until what each process prints now is in its file: a log that
// nobody writes any more has no gap either.
func (n *node) logsGoOn(all []api.Instance) {
	n.t.Helper()
	for _, i := range all {
		printed := func() int {
			text, err := os.ReadFile(i.LogFile)
			if err != nil {
				n.t.Fatal(err)
			}
			return bytes.Count(text, fmt.Appendf(nil, "\n%d ", i.PID))
		}
		was := printed()
		n.until(i.ID+" goes on in its log", func(api.Status) string {
			if now := printed(); now == was {
				return fmt.Sprintf("%s has %d lines of pid %d, and no more come", i.LogFile, now, i.PID)
			}
			return ""
		})
	}
}

// linesWhole checks that the file of each instance has every line that its
// processes have numbered, once and in order.
func (n *node) linesWhole(ids []string) {
	n.t.Helper()
	total := 0
	for _, id := range ids {
		f, err := os.Open(filepath.Join(n.dirs.Log, "shop", id+".log"))
		if err != nil {
			n.t.Fatal(err)
		}
		defer f.Close()
		last := map[string]int{}
		in := bufio.NewScanner(f)
		for in.Scan() {
			words := strings.Fields(in.Text())
			if len(words) < 2 {
				n.t.Errorf("%s: torn line %q", id, in.Text())
				continue
			}
			if number, err := strconv.Atoi(words[1]); err != nil || number != last[words[0]]+1 {
				n.t.Errorf("%s: after line %d of pid %s comes %q", id, last[words[0]], words[0], in.Text())
				last[words[0]] = number
			}
			last[words[0]]++
			total++
		}
		if err := in.Err(); err != nil {
			n.t.Errorf("%s: %v", id, err)
		}
	}
	if total == 0 {
		n.t.Error("no lines at all")
	}
	n.t.Logf("%d lines, none lost", total)
}

// exitsKnown checks that nobody's end was missed, where the kernel can tell.
func (n *node) exitsKnown() {
	n.t.Helper()
	if !kernelAtLeast(6, 15) {
		return
	}
	files, _ := filepath.Glob(filepath.Join(n.dirs.State, "events", "*"))
	ends := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			n.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "killed by SIGKILL") {
				ends++
			}
			if strings.Contains(line, "exit status unknown") && !strings.Contains(line, `"role/`) {
				n.t.Errorf("an end that nobody saw: %s", line)
			}
		}
	}
	if ends == 0 {
		n.t.Error("no end was told at all")
	}
}

func kernelAtLeast(major, minor int) bool {
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	var x, y int
	_, _ = fmt.Sscanf(b.String(), "%d.%d", &x, &y)
	return x > major || x == major && y >= minor
}
