package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// oddFile is three odd services that leave at once when told. DEPLOY, STOP,
// REPLICAS and EDIT are what the tests change.
const oddFile = `schema: 1
services:
  odd:
    version: v1
    run:
      exec: ["DIR/app/${version}/app", odd, --listen, "127.0.0.1:${port.http}", --version, "${version}", --dir, DIR/odd]
      user: USER
      env: { EDIT: "EDITED" }
    ports: { http: auto }
    replicas: REPLICAS
    probes: { readiness: { http: /healthz, period: 250ms, timeout: 250ms, failure_threshold: 3 } }
    restart: { backoff: 100ms..500ms, reset_after: 1s, limit: 1000/1m }
    stop: { STOP }
    deploy: { DEPLOY }
frontends:
  web: { bind: ["127.0.0.1:PORT"], routes: [{ to: odd }] }
`

// oddNode is a node with oddFile, and what is in it now.
type oddNode struct {
	*node

	address  string
	port     int
	versions int
	replicas int
	edit     string
	deploy   string
	stop     string
}

// What the tests come back to.
const (
	quickDeploy = "min_ready: 300ms, progress_deadline: 15s"
	quickStop   = "drain: 20s, drain_long: 3s, grace: 1s"
)

func startOdd(t *testing.T) *oddNode {
	t.Helper()
	n := newNode(t)
	o := &oddNode{node: n, port: hosttest.FreePort(t), replicas: 3, edit: "1", deploy: quickDeploy, stop: quickStop}
	o.address = fmt.Sprintf("127.0.0.1:%d", o.port)
	if err := errors.Join(os.Mkdir(n.dir+"/odd", 0o777), os.Chmod(n.dir+"/odd", 0o777)); err != nil {
		t.Fatal(err)
	}
	if version := o.install(""); version != "v1" {
		t.Fatalf("installed %s first", version)
	}
	o.write(o.text())
	n.start()
	n.whole("odd", 3)
	n.settled("odd")
	return o
}

func (o *oddNode) text() string {
	return strings.NewReplacer("DEPLOY", o.deploy, "STOP", o.stop, "REPLICAS", fmt.Sprint(o.replicas), "EDITED", o.edit, "PORT", fmt.Sprint(o.port)).Replace(oddFile)
}

// on has failures belong to t while it runs.
func (o *oddNode) on(t *testing.T) {
	t.Helper()
	was := o.t
	o.t = t
	t.Cleanup(func() { o.t = was })
}

// install makes the next version of the program, which misbehaves as flags say.
func (o *oddNode) install(flags string) (version string) {
	o.t.Helper()
	o.versions++
	version = fmt.Sprintf("v%d", o.versions)
	self, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		o.t.Fatal(err)
	}
	dir := filepath.Join(o.dir, "app", version)
	err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/app", program, 0o755), os.WriteFile(o.mood(version, "flags"), []byte(flags), 0o644))
	if err != nil {
		o.t.Fatal(err)
	}
	return version
}

func (o *oddNode) program(version string) string { return filepath.Join(o.dir, "app", version, "app") }

func (o *oddNode) mood(who, what string) string { return filepath.Join(o.dir, "odd", who+"."+what) }

// tell has an instance, or all of a version, do what it is told.
func (o *oddNode) tell(who, what string) {
	o.t.Helper()
	if err := os.WriteFile(o.mood(who, what), nil, 0o644); err != nil {
		o.t.Fatal(err)
	}
}

func (o *oddNode) untell(who, what string) {
	o.t.Helper()
	if err := os.Remove(o.mood(who, what)); err != nil {
		o.t.Fatal(err)
	}
}

// with applies other rules until the test ends.
func (o *oddNode) with(deploy, stop string) {
	o.t.Helper()
	o.deploy, o.stop = deploy, stop
	o.apply()
	o.t.Cleanup(func() {
		o.deploy, o.stop = quickDeploy, quickStop
		o.apply()
		o.whole("odd", o.replicas)
	})
}

func (o *oddNode) apply() {
	o.t.Helper()
	o.write(o.text())
	o.taken()
}

// ends deploys a version and fails unless the command ends with status.
func (o *oddNode) ends(status backstay.ExitCode, args ...string) string {
	o.t.Helper()
	out, errs, got := o.cli(args...)
	if got != int(status) {
		o.t.Fatalf("backstay %s ended with %d, not %d\n%s%s", strings.Join(args, " "), got, status, out, errs)
	}
	return out + errs
}

// begin starts a deploy and does not wait for it.
func (o *oddNode) begin(version string) api.Deploy {
	o.t.Helper()
	d, err := o.client.Deploy(context.Background(), "odd", api.DeployAsk{Version: version})
	if err != nil {
		o.t.Fatal(err)
	}
	return d
}

// reaches waits until the deploy of odd is in one of states.
func (o *oddNode) reaches(states ...api.DeployState) api.Deploy {
	o.t.Helper()
	s := o.until(fmt.Sprintf("the deploy is %v", states), func(s api.Status) string {
		d := s.Service("odd").Deploy
		if slices.Contains(states, d.State) {
			return ""
		}
		return string(d.State) + ": " + d.Step + d.Reason
	})
	return *s.Service("odd").Deploy
}

// at waits until the version serves, alone and whole, and counts the processes.
func (o *oddNode) at(version string) []api.Instance {
	o.t.Helper()
	s := o.until(version+" serves alone", func(s api.Status) string {
		v := s.Service("odd")
		if v.Deploy != nil && !v.Deploy.State.Ended() {
			return "a deploy is " + string(v.Deploy.State) + ": " + v.Deploy.Step
		}
		for _, i := range v.Instances {
			if i.Release != v.Release {
				return i.ID + " is at " + i.Release
			}
		}
		if v.Version != version {
			return "it is at " + v.Version
		}
		return unlessWhole(s, "odd", o.replicas)
	})
	if got := len(o.odds()); got != o.replicas {
		o.t.Errorf("%d processes of odd, want %d", got, o.replicas)
	}
	return s.Service("odd").Instances
}

// odds returns the processes of odd, whatever status says.
func (o *oddNode) odds() (pids []int) {
	for _, pid := range o.processes() {
		if strings.HasPrefix(o.kindOf(pid), "other: "+o.dir+"/app/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (o *oddNode) now() string { return o.status().Service("odd").Version }

// underLoad runs f while requests go through and fails if one fails.
func (o *oddNode) underLoad(f func()) {
	o.t.Helper()
	l := startLoad(o.t, o.address, 8, 2*time.Millisecond)
	f()
	l.until(l.sent.Load() + 50)
	l.end()
	l.nothingFailed()
	l.eachOrderOnce(o.dir + "/odd")
}

// underGets is underLoad where instances die with requests in hand: what may be
// asked again is, and not one fails.
func (o *oddNode) underGets(f func()) {
	o.t.Helper()
	l := startGets(o.t, o.address, 8, 2*time.Millisecond)
	f()
	l.until(l.sent.Load() + 50)
	l.end()
	l.nothingFailed()
}

// watched follows a deploy over every death of the agent and calls f with each
// of its lines once. It returns the deploy at its end.
func (o *oddNode) watched(id string, f func(api.Progress)) (d api.Deploy) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*hang)
	defer cancel()
	seen, final := 0, false
	for !final && ctx.Err() == nil {
		_ = o.client.Watch(ctx, "odd", id, func(p api.Progress) error {
			if p.Deploy != nil {
				d = *p.Deploy
			}
			final = p.Final
			if p.N > seen {
				seen = p.N
				f(p)
			}
			return nil
		})
	}
	if !final {
		o.t.Fatalf("the deploy did not end: %s %s\n%s", d.State, d.Step, o.story())
	}
	return d
}

// kill kills every process of a role, and says how many there were.
func (o *oddNode) kill(kind string, sig syscall.Signal) (killed int) {
	o.t.Helper()
	for _, pid := range o.pidsOf(kind) {
		if syscall.Kill(pid, sig) == nil {
			killed++
		}
	}
	return killed
}

// mustKill is kill of what has to be there.
func (o *oddNode) mustKill(kind string, sig syscall.Signal) {
	o.t.Helper()
	if o.kill(kind, sig) == 0 {
		o.t.Fatalf("there is no %s to be killed", kind)
	}
}

// answer is how a request of ask ended.
type answer struct {
	version, instance string
	err               error
}

// ask sends one request on a connection of its own, beside the test.
func (o *oddNode) ask(method, target, body string) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		c, err := net.DialTimeout("tcp", o.address, hang)
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer c.Close()
		done <- exchangeOn(c, bufio.NewReader(c), method, target, body)
	}()
	return done
}

// exchangeOn sends one request on c and checks its answer.
func exchangeOn(c net.Conn, in *bufio.Reader, method, target, body string) (a answer) {
	_ = c.SetDeadline(time.Now().Add(2 * hang))
	if _, a.err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: odd\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body); a.err != nil {
		return a
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		a.err = err
		return a
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		a.err = errors.Join(err, fmt.Errorf("answered %s %q", resp.Status, text))
		return a
	}
	a.version, a.instance = field(text, "version"), field(text, "instance")
	return a
}

// field returns a field of a small JSON text.
func field(text []byte, name string) string {
	_, after, _ := strings.Cut(string(text), `"`+name+`":"`)
	value, _, _ := strings.Cut(after, `"`)
	return value
}

// dialIdle opens a connection that is used by hand.
func dialIdle(tb testing.TB, address string) (net.Conn, *bufio.Reader) {
	tb.Helper()
	c, err := net.DialTimeout("tcp", address, hang)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// taken applies the file, which has to be taken. That it asks for a release that
// was undone is told by the status 4 (degraded), and is another matter.
func (o *oddNode) taken() {
	o.t.Helper()
	out, errs, status := o.cli("apply", o.file)
	if status != int(backstay.ExitOK) && (status != int(backstay.ExitDegraded) || !strings.Contains(errs, "not tried again by itself")) {
		o.t.Fatalf("apply ended with %d\n%s%s", status, out, errs)
	}
}
