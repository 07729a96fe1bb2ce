package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperclient"
)

// The test binary is all programs of a node: it is started again as a role, as
// the front, and as a service.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "role":
			end(Role(context.Background(), os.Args[2], optionsOf(os.Args[3:])))
		case "agent":
			end(Agent(context.Background(), optionsOf(os.Args[2:])))
		case "up":
			end(Up(context.Background(), UpOptions{Options: optionsOf(os.Args[2:]), Out: os.Stdout}))
		case "serve":
			end(serve(os.Args[2], os.Args[3]))
		}
	}
	dir, err := os.MkdirTemp("", "bs-daemon-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), copySelf(filepath.Join(dir, "program")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	self = filepath.Join(dir, "program")
	program = func() (string, error) { return self, nil }
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// self is a copy of this program that every user may run.
var self string

func end(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func copySelf(to string) error {
	from, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

func optionsOf(args []string) Options {
	o := Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Version: "test"}
	f := flag.NewFlagSet("role", flag.ExitOnError)
	f.StringVar(&o.Dirs.Run, "run-dir", "", "")
	f.StringVar(&o.Dirs.State, "state-dir", "", "")
	f.StringVar(&o.Dirs.Log, "log-dir", "", "")
	f.StringVar(&o.File, "config", "", "")
	f.StringVar(&o.Metrics, "metrics", "", "")
	_ = f.Parse(args)
	return o
}

// serve answers what it is called.
func serve(addr, name string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, stop := proc.UntilTold(context.Background())
	defer stop()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if addr := r.URL.Query().Get("until"); addr != "" { // whoever listens there hangs up
			if c, err := net.Dial("tcp", addr); err == nil {
				_, _ = io.Copy(io.Discard, c)
			}
		}
		fmt.Fprintf(w, "%s %s", name, os.Getenv("WORD"))
	})}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	_ = s.Serve(l)
	return nil
}

// hang is when something is taken to hang; no time is judged here.
const hang = 20 * time.Second

// node is a whole Backstay under a keeper of its own.
type node struct {
	*testing.T

	dir    string
	opt    Options
	client *client.Client
	disks  []string // mounted for it
}

// newNode makes directories. Nothing runs yet.
func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "bs-") //nolint:usetesting // short: a socket's path has 107 bytes
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	n := &node{T: t, dir: dir, opt: Options{
		File: filepath.Join(dir, "backstay.yaml"), Dirs: DirsIn(dir), Log: slog.New(slog.DiscardHandler), Version: "test",
	}}
	n.client = client.New(client.Options{Socket: n.opt.Dirs.API()})
	t.Cleanup(n.clean)
	return n
}

// start starts a keeper, and all that follows, on text.
func start(t *testing.T, text string) *node {
	t.Helper()
	n := newNode(t)
	n.write(text)
	must(t, launchKeeper(t.Context(), n.opt))
	n.until("a file in force", func(s api.Status) bool { return s.Config.Digest != "" })
	return n
}

// fill puts in what only a run knows.
func (n *node) fill(text string) string {
	user := "root"
	if os.Geteuid() != 0 {
		user = strconv.Itoa(os.Geteuid())
	}
	return strings.NewReplacer("DIR", n.dir, "USER", user, "SELF", self).Replace(text)
}

func (n *node) write(text string) {
	n.Helper()
	must(n, os.WriteFile(n.opt.File, []byte(n.fill(text)), 0o644))
}

func (n *node) apply(text string) error {
	_, err := n.client.Apply(n.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(n.fill(text))})
	return err
}

func (n *node) status() api.Status {
	n.Helper()
	for until := time.Now().Add(hang); ; time.Sleep(20 * time.Millisecond) {
		s, err := n.client.Status(n.Context())
		if err == nil {
			return s
		}
		if time.Now().After(until) {
			n.Fatalf("no status: %v\n%s", err, n.story())
		}
	}
}

func (n *node) until(what string, f func(api.Status) bool) api.Status {
	n.Helper()
	for until := time.Now().Add(hang); ; time.Sleep(20 * time.Millisecond) {
		s := n.status()
		if f(s) {
			return s
		}
		if time.Now().After(until) {
			n.Fatalf("not seen: %s\n%+v\n%s", what, s, n.story())
		}
	}
}

// whole waits until a service has so many instances, all of them ready, and no
// deploy is under way.
func (n *node) whole(service string, replicas int) api.Service {
	n.Helper()
	var found api.Service
	n.until(fmt.Sprintf("%d of %s", replicas, service), func(s api.Status) bool {
		found = s.Service(service)
		for _, i := range found.Instances {
			if !i.Ready {
				return false
			}
		}
		return len(found.Instances) == replicas && (found.Deploy == nil || found.Deploy.State.Ended())
	})
	return found
}

// kill kills a role and waits until the next one is there.
func (n *node) kill(name string) {
	n.Helper()
	pid := n.status().Role(name).PID
	p, err := os.FindProcess(pid)
	must(n, err)
	must(n, p.Kill())
	n.until("another "+name, func(s api.Status) bool {
		r := s.Role(name)
		return r.Running && r.PID != pid && s.Config.Digest != ""
	})
}

// keeper returns the keeper that runs, nil if there is none.
func (n *node) keeper() *keeperclient.Client {
	n.Helper()
	k, err := runningKeeper(n.Context(), n.opt.Dirs)
	must(n, err)
	return k
}

func (n *node) story() string {
	var b bytes.Buffer
	events, _ := filepath.Glob(n.opt.Dirs.State + "/events/*.jsonl")
	for _, f := range append(events, n.opt.Dirs.Keeper()+"/keeper.log", n.opt.Dirs.Log+"/backstay/agent.log", n.opt.Dirs.Log+"/backstay/proxy.log", n.dir+"/front.out") {
		if text, err := os.ReadFile(f); err == nil {
			fmt.Fprintf(&b, "--- %s\n%s\n", f, text[max(0, len(text)-4000):])
		}
	}
	return b.String()
}

// clean ends all that runs.
func (n *node) clean() {
	if n.Failed() {
		n.Log(n.story())
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	socket := filepath.Join(n.opt.Dirs.Keeper(), "sock")
	if k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: socket}); err == nil {
		_ = k.Close()
		if err := n.client.Down(ctx, func(api.Progress) error { return nil }); err != nil {
			n.Errorf("down: %v", err)
		}
		if err := leave(ctx, n.opt.Dirs); err != nil {
			n.Errorf("leave: %v", err)
		}
	}
	for _, dir := range n.disks { // not before: who cannot be found is not ended
		if _, err := proc.Output(ctx, []string{"umount", "--lazy", dir}, 4096); err != nil {
			n.Errorf("unmount: %v", err)
		}
	}
	_ = os.RemoveAll(n.dir)
}

// get asks over a connection of its own.
func get(url string) (string, error) {
	c := &http.Client{Timeout: hang, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a test's own
	}}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func codeOf(err error) string {
	p := new(backstay.Problem)
	if errors.As(err, &p) {
		return p.Code
	}
	return fmt.Sprint(err)
}
