package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
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

// threePeers are programs as the distribution has them, unmodified. They do not
// share their ports, so the old one stops before the new one starts.
const threePeers = `schema: 1
services:
  web:
    run: { exec: [/usr/sbin/nginx, -p, DIR/nginx, -c, DIR/nginx/nginx.conf, -e, DIR/nginx/error.log], user: root }
    ports: { http: HTTPPORT }
    probes: { readiness: { http: /, period: 250ms, timeout: 250ms }, liveness: { http: /, period: 500ms, timeout: 500ms } }
    stop: { signal: SIGQUIT, grace: 10s }
    restart: { reset_after: 1s, limit: 1000/1m }
    deploy: { strategy: recreate, min_ready: 0s }
  cache:
    run: { exec: [/usr/bin/redis-server, DIR/redis/redis.conf], user: redis, dir: DIR/redis }
    ports: { redis: REDISPORT }
    probes: { readiness: { redis: true, period: 250ms, timeout: 250ms }, liveness: { redis: true, period: 500ms, timeout: 500ms } }
    restart: { reset_after: 1s, limit: 1000/1m }
    deploy: { strategy: recreate, min_ready: 0s }
  db:
    run: { exec: [POSTGRES, -D, DIR/pg/data, -k, DIR/pg, -h, 127.0.0.1, -p, "${port.pg}"], user: postgres, dir: DIR/pg }
    ports: { pg: PGPORT }
    probes: { readiness: { postgres: true, period: 250ms, timeout: 250ms } }
    stop: { signal: SIGINT, grace: 20s }
    restart: { reset_after: 1s, limit: 1000/1m }
    deploy: { strategy: recreate, min_ready: 0s }
`

// peers are the three, with what they must not lose.
type peers struct {
	*node

	http, redis, pg int
	bin             string // directory of PostgreSQL's programs
}

func startPeers(t *testing.T) *peers {
	t.Helper()
	hosttest.NeedRoot(t, "to start the packages of the system as their users")
	n := newNode(t)
	p := &peers{node: n, http: hosttest.FreePort(t), redis: hosttest.FreePort(t), pg: hosttest.FreePort(t)}
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(programs) == 0 {
		t.Fatal("no PostgreSQL; run .ci/peers")
	}
	p.bin = filepath.Dir(programs[0])
	p.prepare("nginx", "root", "nginx.conf", fmt.Sprintf(`worker_processes 2; daemon off; pid DIR/nginx/pid; user nobody nogroup;
events {} http { access_log off; client_body_temp_path DIR/nginx/a; proxy_temp_path DIR/nginx/b; fastcgi_temp_path DIR/nginx/c;
uwsgi_temp_path DIR/nginx/d; scgi_temp_path DIR/nginx/e; server { listen 127.0.0.1:%d; location / { return 200 "here"; } } }
`, p.http))
	p.prepare("redis", "redis", "redis.conf", fmt.Sprintf("port %d\nbind 127.0.0.1\ndaemonize no\nappendonly yes\nappendfsync always\ndir DIR/redis\n", p.redis))
	p.prepare("pg", "postgres", "", "")
	p.as("postgres", p.bin+"/initdb", "-D", n.dir+"/pg/data", "-A", "trust", "--no-sync")
	n.write(strings.NewReplacer("HTTPPORT", strconv.Itoa(p.http), "REDISPORT", strconv.Itoa(p.redis), "PGPORT", strconv.Itoa(p.pg),
		"POSTGRES", p.bin+"/postgres").Replace(threePeers))
	n.start()
	p.allWhole()
	return p
}

// prepare makes a directory of a user, with a file in it.
func (p *peers) prepare(dir, user, file, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, dir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if file != "" {
		if err := os.WriteFile(filepath.Join(path, file), []byte(p.fill(text)), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", user, path).CombinedOutput(); err != nil {
		p.t.Fatalf("chown: %v %s", err, out)
	}
}

// as runs a command as user and returns what it printed.
func (p *peers) as(user string, argv ...string) string {
	p.t.Helper()
	cmd := exec.Command("runuser", append([]string{"-u", user, "--"}, argv...)...)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (p *peers) allWhole() (instances map[string]api.Instance) {
	p.t.Helper()
	instances = map[string]api.Instance{}
	for _, name := range []string{"web", "cache", "db"} {
		instances[name] = p.whole(name, 1)[0]
	}
	return instances
}

// serve checks that each does its work, and that nothing written before is lost.
func (p *peers) serve(round int) {
	p.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", p.http))
	if err != nil {
		p.t.Fatalf("nginx: %v", err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || string(body) != "here" {
		p.t.Errorf("nginx answered %s %q", resp.Status, body)
	}
	rounds := strconv.Itoa(round)
	if got := p.as("redis", "redis-cli", "-p", strconv.Itoa(p.redis), "incr", "round"); got != rounds {
		p.t.Errorf("redis counts %s, want %s", got, rounds)
	}
	p.sql("create table if not exists rounds (n int)")
	p.sql("insert into rounds values (" + rounds + ")")
	if got := p.sql("select count(*) from rounds"); got != rounds {
		p.t.Errorf("PostgreSQL has %s rows, want %s", got, rounds)
	}
}

func (p *peers) sql(text string) string {
	p.t.Helper()
	return p.as("postgres", "psql", "-h", p.dir+"/pg", "-p", strconv.Itoa(p.pg), "-qAtc", text)
}

// session is a client of PostgreSQL for so long.
func (p *peers) session(long time.Duration) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command("runuser", "-u", "postgres", "--", "psql", "-h", p.dir+"/pg", "-p", strconv.Itoa(p.pg),
		"-qAtc", fmt.Sprintf("select pg_sleep(%g)", long.Seconds()))
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill() })
	p.until("the session is there", func(api.Status) string {
		return p.sql("select case count(*) when 0 then 'none' end from pg_stat_activity where query like 'select pg_sleep%'")
	})
	return cmd
}

// nginx, Redis and PostgreSQL survive kill -9 of themselves and of every part of
// Backstay, and stop clean.
func TestPeersSurviveKillsAndStopClean(t *testing.T) {
	p := startPeers(t)
	p.serve(1)
	before := p.allWhole()
	for i, kinds := range [][]string{{"agent"}, {"keeper"}, {"agent", "keeper"}} {
		p.killKinds(kinds...)
		p.until("roles are back", rolesOf("agent", "keeper"))
		for name, was := range before {
			if now := p.whole(name, 1)[0]; now.PID != was.PID {
				t.Errorf("after kill -9 of %v %s is pid %d, was %d", kinds, name, now.PID, was.PID)
			}
		}
		p.serve(2 + i)
	}
	p.killMain(before)
	p.serve(5)
	all := p.allWhole()
	p.killKinds("agent", "keeper")
	p.killMain(all)
	p.serve(6)
	p.stopClean()
}

func rolesOf(names ...string) func(api.Status) string {
	return func(s api.Status) string {
		for _, name := range names {
			if !s.Role(name).Running {
				return name + " does not run"
			}
		}
		return ""
	}
}

func (p *peers) killKinds(kinds ...string) {
	p.t.Helper()
	var pids []int
	for _, kind := range kinds {
		p.until(kind+" is there to be killed", func(api.Status) string {
			found := p.pidsOf(kind)
			pids = append(pids, found...)
			if len(found) == 0 {
				return "no " + kind + " in /proc"
			}
			return ""
		})
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			p.t.Fatal(err)
		}
	}
}

// killMain kills the main process of each: what it leaves behind, workers that
// hold its port or its shared memory, must not keep the next one from starting.
func (p *peers) killMain(all map[string]api.Instance) {
	p.t.Helper()
	trees := map[string][]int{}
	for name, i := range all {
		trees[name] = p.inCgroups(i.PID)
	}
	for _, i := range all {
		if err := syscall.Kill(i.PID, syscall.SIGKILL); err != nil {
			p.t.Fatal(err)
		}
	}
	p.until("each is another process", func(s api.Status) string {
		for name, was := range all {
			for _, i := range s.Service(name).Instances {
				if i.PID == was.PID || i.PID == 0 || !i.Ready {
					return fmt.Sprintf("%s: pid %d, %s: %s", name, i.PID, i.State, i.Because)
				}
			}
		}
		return ""
	})
	for name, i := range p.allWhole() { // what is left would answer in place of the next one
		for _, pid := range p.inCgroups(i.PID) {
			if slices.Contains(trees[name], pid) {
				p.t.Errorf("the main process of %s was killed, and %d of its tree is left beside %d", name, pid, i.PID)
			}
		}
	}
}

// stopClean stops all three and checks that they ended by themselves, with
// nothing left.
func (p *peers) stopClean() {
	p.t.Helper()
	pids := p.processes()
	p.must("down")
	text := p.must("events")
	for _, name := range []string{"web", "cache", "db"} {
		if end := lastLine(text, "service/"+name+"/"); end == "" || strings.Contains(end, "SIGKILL") {
			p.t.Errorf("%s did not end by itself: %q", name, end)
		}
	}
	for _, pid := range pids {
		kind := p.kindOf(pid)
		if slices.Contains([]string{"front", "keeper", "agent", "proxy"}, kind) || kind == "other: " {
			continue
		}
		if err := syscall.Kill(pid, 0); err == nil {
			p.t.Errorf("%d is left: %s", pid, kind)
		}
	}
	if _, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", p.http)); err == nil {
		p.t.Error("nginx still answers")
	}
}

// lastLine returns the last line of text with what in it.
func lastLine(text, what string) (last string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) && strings.Contains(line, string(backstay.Stopped)) {
			last = line
		}
	}
	return last
}

// A deploy by recreate stops the old one for certain before the new one starts:
// PostgreSQL never sees two servers on one directory.
func TestRecreateNeverOverlaps(t *testing.T) {
	p := startPeers(t)
	p.serve(1)
	was := p.whole("db", 1)[0]
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	// Told so, it ends when its last session does: the old one is there for a while.
	changed := bytes.Replace(text, []byte("signal: SIGINT, "), nil, 1)
	changed = bytes.Replace(changed, []byte(`-p, "${port.pg}"]`), []byte(`-p, "${port.pg}", -c, work_mem=5MB]`), 1)
	if err := os.WriteFile(p.file, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	plan, _, status := p.cli("plan", p.file)
	if status != int(backstay.ExitChanges) || !strings.Contains(plan, "no answer") {
		t.Errorf("plan ended with %d and does not name the gap: %s", status, plan)
	}
	session := p.session(2 * time.Second)
	p.must("apply", p.file)
	p.settled("db")
	if err := session.Wait(); err != nil {
		t.Errorf("the session with the old one: %v", err)
	}
	if now := p.whole("db", 1)[0]; now.ID == was.ID {
		t.Error("the instance was not replaced")
	}
	if got := p.sql("show work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s", got)
	}
	p.serve(2)
	logs, _, _ := p.cli("logs", "db")
	if strings.Contains(logs, "lock file") {
		t.Errorf("two servers met: %s", logs)
	}
}
