package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
)

// A log where only root may make files is made for the proxy, and made again
// when it is moved away.
func TestAccessLogInADirectoryOfRoot(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to log where only root may")
	port := hosttest.FreePort(t)
	n := newNode(t)
	logs := n.dir + "/var-log"
	must(t, os.Mkdir(logs, 0o755))
	path := logs + "/web.log"
	text := strings.Replace(shopFile(port, ""), "routes: [{ to: shop }] }", "routes: [{ to: shop }], access_log: { path: DIR/var-log/web.log } }", 1)
	n.write(text)
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 2)
	n.logs(port, path)
	must(t, os.Rename(path, path+".1"))
	n.logs(port, path)
	if s := n.status(); len(s.Problems) > 0 { // no line is lost by a rotation
		t.Errorf("problems: %+v", s.Problems)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != logMode {
		t.Errorf("mode %v, want %v", info.Mode(), fs.FileMode(logMode))
	}
	// A proxy that starts anew writes on.
	n.kill("proxy")
	n.logs(port, path)
}

// The logs of a service are told as one, by time, and those of an instance that
// comes meanwhile too; the keeper's own is found though it lies elsewhere.
func TestLogsOfAServiceAndOfTheKeeper(t *testing.T) {
	t.Parallel()
	const chat = `{ exec: [/bin/sh, -c, "while echo hello; do sleep 0.05; done"], user: USER }`
	n := start(t, "schema: 1\nservices:\n  chat: { run: "+chat+", replicas: 2 }\n")
	n.whole("chat", 2)
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	err := n.client.Logs(ctx, api.LogQuery{Ref: "service/chat", Follow: true}, func(l api.LogLine) error {
		if seen[l.Instance]++; len(seen) == 2 && seen[l.Instance] == 2 {
			three := 3
			if _, err := n.client.Scale(ctx, "chat", &three); err != nil {
				return err
			}
		}
		if len(seen) == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(seen) != 3 {
		t.Errorf("%v after lines of %v", err, seen)
	}
	n.whole("chat", 3)
	var last time.Time
	var order []string
	must(t, n.client.Logs(t.Context(), api.LogQuery{Ref: "service/chat"}, func(l api.LogLine) error {
		if l.At.Before(last) {
			t.Errorf("%v follows %v", l.At, last)
		}
		last = l.At
		if len(order) == 0 || order[len(order)-1] != l.Instance {
			order = append(order, l.Instance)
		}
		return nil
	}))
	if len(order) < 5 {
		t.Errorf("one instance after the other: %v", order)
	}
	own := filepath.Join(n.opt.Dirs.Keeper(), "keeper.log")
	must(t, os.WriteFile(own, []byte("keeper: a word\n"), 0o600))
	var text string
	must(t, n.client.Logs(t.Context(), api.LogQuery{Ref: "role/keeper"}, func(l api.LogLine) error {
		text = fmt.Sprintf("%s %s %v %s", l.Service, l.Instance, l.At.IsZero(), l.Text)
		return nil
	}))
	if text != "backstay keeper true keeper: a word" {
		t.Errorf("of the keeper: %s", text)
	}
	must(t, os.Remove(own))
	err = n.client.Logs(t.Context(), api.LogQuery{Ref: "role/keeper"}, func(api.LogLine) error { return nil })
	if p, ok := errors.AsType[*backstay.Problem](err); !ok || p.Code != "not_found" || !strings.Contains(p.Do, "journal") {
		t.Errorf("without a file: %v", err)
	}
}

// What a service has printed can be read once it is stopped: that is when it is
// asked for.
func TestLogsOfAStoppedService(t *testing.T) {
	t.Parallel()
	n := start(t, "schema: 1\nservices:\n  chat: { run: { exec: [/bin/sh, -c, \"echo last words; exec sleep 60\"], user: USER } }\n")
	n.whole("chat", 1)
	_, err := n.client.Do(t.Context(), "stop", "service/chat")
	must(t, err)
	n.until("stopped", func(s api.Status) bool { return len(s.Service("chat").Instances) == 0 })
	var lines []string
	must(t, n.client.Logs(t.Context(), api.LogQuery{Ref: "service/chat"}, func(l api.LogLine) error {
		lines = append(lines, l.Text)
		return nil
	}))
	if len(lines) == 0 || lines[0] != "last words" {
		t.Errorf("logs: %q", lines)
	}
}

// While a log cannot be written status and why say so, with the reason; and no
// longer than that.
func TestLostLinesAreToldUntilTheLogIsWrittenAgain(t *testing.T) {
	t.Parallel()
	const chat = `{ exec: [/bin/sh, -c, "while echo hello; do sleep 0.05; done"], user: USER }`
	n := start(t, "schema: 1\nservices:\n  chat: { run: "+chat+" }\n")
	i := n.whole("chat", 1).Instances[0]
	must(t, os.Remove(i.LogFile))
	must(t, os.Mkdir(i.LogFile, 0o755))
	lost := func(s api.Status) bool {
		return slices.ContainsFunc(s.Problems, func(p backstay.Problem) bool { return p.Code == "disk" && p.Where == "instance/"+i.ID && p.Why != "" })
	}
	n.until("the loss", lost)
	for _, ref := range []string{"service/chat", "instance/" + i.ID} {
		proof, err := n.client.Why(t.Context(), ref)
		must(t, err)
		if text := proof.String(); !strings.Contains(text, "is lost since") || !strings.Contains(text, "EISDIR") || !strings.Contains(text, "make room") {
			t.Errorf("why %s:\n%s", ref, text)
		}
	}
	must(t, os.Remove(i.LogFile))
	n.until("the log is written again", func(s api.Status) bool { return !lost(s) })
}

// The age of the keeper is its own, whoever has met it when.
func TestKeeperIsAsOldAsItsProcess(t *testing.T) {
	r := newRoleStates()
	r.meet(keeperwire.Welcome{PID: int32(os.Getpid())}, nil)
	if since := r.all("", 0, 0, nil)[0].Since; since.After(started.Add(time.Second)) || since.Before(started.Add(-time.Minute)) {
		t.Errorf("since %v, started %v", since, started)
	}
	r.meet(keeperwire.Welcome{PID: int32(os.Getppid())}, nil)
	if since := r.all("", 0, 0, nil)[0].Since; !since.Before(started) {
		t.Errorf("its parent began at %v, after it at %v", since, started)
	}
}

// logs asks until its request is in the log.
func (n *node) logs(port int, path string) {
	n.Helper()
	for until := time.Now().Add(hang); ; time.Sleep(50 * time.Millisecond) {
		word := fmt.Sprintf("/at-%d", time.Now().UnixNano())
		_, _ = get(fmt.Sprintf("http://127.0.0.1:%d%s", port, word))
		time.Sleep(10 * time.Millisecond)
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), word) {
			return
		}
		if time.Now().After(until) {
			n.Fatalf("no request is in %s\n%+v\n%s", path, n.status().Problems, n.story())
		}
	}
}

// What is no plain file, or leads elsewhere, is left as it is.
func TestAccessLogTakesNoForeignFile(t *testing.T) {
	hosttest.NeedRoot(t, "to log for another user")
	dir := t.TempDir()
	user := account{firstDynamic, firstDynamic, true}
	secret := dir + "/secret"
	must(t, os.WriteFile(secret, []byte("x"), 0o600))
	logs := dir + "/logs"
	must(t, os.Mkdir(logs, 0o755))
	must(t, os.Symlink(secret, logs+"/link.log"))
	for _, path := range []string{logs + "/link.log", "/dev/null"} {
		before, err := os.Stat(path)
		must(t, err)
		must(t, openLog(path, user))
		after, err := os.Stat(path)
		must(t, err)
		if fmt.Sprintf("%+v", before.Sys()) != fmt.Sprintf("%+v", after.Sys()) {
			t.Errorf("%s was touched: %+v, was %+v", path, after.Sys(), before.Sys())
		}
	}
	if err := openLog(dir+"/nowhere/x.log", user); err == nil {
		t.Error("a directory that is not there is no error")
	}
	must(t, openLog(logs+"/new.log", account{})) // as nobody else: the proxy makes it
	if _, err := os.Stat(logs + "/new.log"); err == nil {
		t.Error("a file was made for nobody")
	}
}

// The page of the agent has the proxy's metrics, each name once, and is served
// without a proxy too.
func TestMetricsOfAgentAndProxyAreOnePage(t *testing.T) {
	t.Parallel()
	port, scrape := hosttest.FreePort(t), hosttest.FreePort(t)
	n := newNode(t)
	n.opt.Metrics = fmt.Sprintf("127.0.0.1:%d", scrape)
	n.write(shopFile(port, ""))
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 2)
	n.until("everybody told", func(s api.Status) bool { return told(s) == 2 })
	page, err := get("http://" + n.opt.Metrics + "/metrics")
	must(t, err)
	for _, want := range []string{"backstay_proxy_answers 1", "backstay_l7_generation ", "backstay_registry_"} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("the page lacks %s:\n%.2000s", want, page)
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "# TYPE") {
			if seen[line] {
				t.Errorf("twice: %s", line)
			}
			seen[line] = true
		}
	}
	without, _, _ := strings.Cut(shopFile(port, ""), "frontends:")
	must(t, n.apply(without))
	page, err = get("http://" + n.opt.Metrics + "/metrics")
	if err != nil || !strings.Contains(page, "backstay_proxy_answers 0") || !strings.Contains(page, "\nbackstay_registry_") {
		t.Errorf("without a proxy: %v\n%.2000s", err, page)
	}
}

// A loss is shown while it is news.
func TestLostLinesAreAProblemForAWhile(t *testing.T) {
	var d drops
	now := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		lines uint64
		shown bool
	}{{0, 0, false}, {0, 3, true}, {dropsShown - 1, 3, true}, {1, 3, false}, {time.Second, 4, true}, {time.Second, 0, false}, {time.Second, 1, true}} {
		now = now.Add(c.after)
		if got := d.lately("/x", c.lines, now); got != c.shown {
			t.Errorf("look %d: shown %v", i, got)
		}
	}
}

// What a keeper that is gone was dropping it never says is over, and the next one
// tells what it drops itself.
func TestLossEndsWithItsKeeper(t *testing.T) {
	var l losses
	from := time.Unix(1000, 0)
	dropped := func(after time.Duration) keeperwire.Event {
		return keeperwire.Event{Kind: keeperwire.EvLogDropped, ID: "x", At: from.Add(after).UnixNano(), N: 5, Text: []byte("ENOSPC")}
	}
	lost := func() bool { return !l.of("x").since.IsZero() }
	l.meet(from)
	l.hear(dropped(time.Second))
	l.meet(from) // it lists once more
	if !lost() {
		t.Error("forgotten though it is still dropped")
	}
	from = from.Add(time.Minute)
	l.meet(from)
	l.hear(dropped(-time.Second)) // unread by anybody
	if lost() {
		t.Error("still there with another keeper")
	}
	l.hear(dropped(time.Second))
	if !lost() {
		t.Error("what the new one drops is not there")
	}
}
