package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/host/proc/keeperclient"
)

// damages are what may become of a file.
var damages = map[string]func(path string) error{
	"empty":     func(path string) error { return os.Truncate(path, 0) },
	"truncated": truncate,
	"junk":      func(path string) error { return os.WriteFile(path, []byte("\x00\xff{]"), 0o600) },
	"newer":     func(path string) error { return os.WriteFile(path, newerText(path), 0o600) },
	"a directory": func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.MkdirAll(filepath.Join(path, "in"), 0o700)
	},
	"unreadable": func(path string) error { return os.Chmod(path, 0) }, // root reads it: then nothing is damaged
	"a link to itself": func(path string) error { // not even root reads it
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Symlink(path, path)
	},
}

func truncate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

// newerText is a file as a later version would write it.
func newerText(path string) []byte {
	kind := map[string]string{"overrides.json": "overrides", "down": "down", "refused.json": "refusal", "snapshot.json": "l7 snapshot"}[filepath.Base(path)]
	switch {
	case kind != "":
	case strings.HasSuffix(path, ".jsonl"):
		kind = "events"
	case strings.Contains(path, "deploys"):
		kind = "deploys"
	case strings.Contains(path, "releases"):
		kind = "release"
	default:
		kind = "config"
	}
	return fmt.Appendf(nil, `{"backstay":%q,"v":99}`+"\n", kind)
}

// one returns the only file that pattern fits, or the last.
func (n *node) one(pattern string) string {
	n.Helper()
	found, err := filepath.Glob(pattern)
	must(n, err)
	if len(found) == 0 {
		n.Fatalf("no %s", pattern)
	}
	return found[len(found)-1]
}

// stateFiles are what the agent reads at its start.
func (n *node) stateFiles() []string {
	state := n.opt.Dirs.State
	return []string{
		n.one(state + "/overrides.json"), n.one(state + "/deploys/shop.json"), n.one(state + "/releases/shop/*.json"), n.one(state + "/events/*.jsonl"),
		n.one(state + "/identity/digest.key"), n.one(state + "/configs/*.json"), n.one(state + "/configs/*.yaml"),
		n.one(n.opt.Dirs.Run + "/config.json"), n.one(n.opt.Dirs.Run + "/refused.json"),
	}
}

// runFiles are those of [node.stateFiles] in the run directory, and the mark of down.
var runFiles = []string{"config.json", "refused.json", "down"}

// overrideAndRefuse has every file be there.
func (n *node) overrideAndRefuse() {
	n.Helper()
	two := 2
	_, err := n.client.Scale(n.Context(), "shop", &two)
	must(n, err)
	n.whole("shop", 2)
	must(n, refusalFormat.Write(n.opt.Dirs.Run+"/refused.json", &refusal{Why: problemsOf("x", os.ErrNotExist)}, 0o600))
}

// Whatever has become of any file that an agent reads at its start, it can start, it
// says so, and what was there is there still.
func TestAgentStartsOverDamagedState(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.overrideAndRefuse()
	must(t, downFormat.Write(n.opt.Dirs.Run+"/down", &downMark{By: "eve"}, 0o644))
	uid := n.opt.Dirs.State + "/identity/proxy.uid"
	must(t, os.WriteFile(uid, []byte("61300\n"), 0o600))
	for _, file := range append(n.stateFiles(), n.opt.Dirs.Run+"/down", uid) {
		for _, damage := range sortedKeys(damages) {
			if damage == "unreadable" && os.Geteuid() == 0 {
				continue
			}
			t.Run(filepath.Base(file)+" "+damage, func(t *testing.T) {
				o := n.opt
				o.Dirs = DirsIn(t.TempDir())
				must(t, o.Dirs.make())
				must(t, os.CopyFS(o.Dirs.State+"/new", os.DirFS(n.opt.Dirs.State)))
				must(t, os.RemoveAll(o.Dirs.State+"/new/keeper"))
				o.Dirs.State += "/new"
				for _, name := range runFiles {
					text, err := os.ReadFile(filepath.Join(n.opt.Dirs.Run, name))
					must(t, err)
					must(t, os.WriteFile(filepath.Join(o.Dirs.Run, name), text, 0o600))
				}
				path := strings.NewReplacer(n.opt.Dirs.State, o.Dirs.State, n.opt.Dirs.Run, o.Dirs.Run).Replace(file)
				must(t, damages[damage](path))
				startsOver(t, o, path)
			})
		}
	}
}

// startsOver makes an agent of damaged state, and looks for what it says.
func startsOver(t *testing.T, o Options, path string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	a, err := newAgent(o)
	must(t, err)
	_, _, _ = a.inForce(t.Context())
	_ = a.proxyUser()
	if a.down() == nil {
		t.Error("what was stopped would start")
	}
	said := readRefusal(a.refusalPath()) == nil || readRefusal(a.refusalPath()).Why.Code == "file_unreadable" && strings.HasSuffix(path, "refused.json")
	v := view{agent: a}
	said = said || len(v.stateProblems()) > 0
	must(t, a.bus.Close())
	events, err := a.bus.Since("")
	must(t, err)
	for _, e := range events {
		said = said || e.Kind == backstay.StateBroken || e.Kind == backstay.EventsLost
	}
	if !said && !strings.HasSuffix(path, ".jsonl") { // half an event log is one of fewer events
		t.Errorf("nothing is said of %s: %+v", path, events)
	}
	if strings.HasSuffix(path, ".jsonl") || len(before) == 0 {
		return
	}
	for _, at := range append(o.Dirs.putAside(), path) {
		if text, err := os.ReadFile(at); err == nil && string(text) == string(before) {
			return
		}
	}
	t.Errorf("what was in %s is gone", path)
}

// An agent that finds all of its state damaged at once looks after what runs.
func TestNothingStopsForDamagedState(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.overrideAndRefuse()
	files := n.stateFiles()
	for _, damage := range []string{"junk", "empty"} {
		for _, file := range files {
			if exists(file) {
				must(t, damages[damage](file))
			}
		}
		n.kill("agent")
		n.until("served", func(s api.Status) bool { return s.Service("shop").Ready() > 0 && len(s.Problems) > 0 })
	}
}

// A release whose file was damaged is not rolled away from: what runs is what is
// wanted.
func TestDamagedReleaseRollsNothing(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	before := n.whole("shop", 1).Instances[0]
	must(t, os.Truncate(n.one(n.opt.Dirs.State+"/releases/shop/*.json"), 0))
	n.kill("agent")
	if now := n.whole("shop", 1).Instances[0]; now.ID != before.ID || now.PID != before.PID {
		t.Errorf("%s pid %d runs, it was %s pid %d", now.ID, now.PID, before.ID, before.PID)
	}
}

// A file that was refused is still refused for the next agent.
func TestRefusalOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.write(versionFile + "\n  x: [")
	k, err := keeperclient.Dial(t.Context(), keeperclient.Options{Socket: filepath.Join(n.opt.Dirs.Keeper(), "sock")})
	must(t, err)
	defer k.Close()
	must(t, k.Signal(t.Context(), agentID, hup))
	was := n.until("refused", func(s api.Status) bool { return s.Config.Refused != nil })
	n.kill("agent")
	now := n.status().Config
	if now.Refused == nil || now.Refused.Error() != was.Config.Refused.Error() || !now.RefusedAt.Equal(was.Config.RefusedAt) {
		t.Errorf("now %+v at %v, it was %+v", now.Refused, now.RefusedAt, was.Config.Refused)
	}
	must(t, n.apply(versionFile))
	n.kill("agent")
	if r := n.status().Config.Refused; r != nil {
		t.Errorf("taken since, and still refused: %+v", r)
	}
}

// An agent that cannot start is told at the terminal of the front, with its reason.
func TestFrontTellsOfAnAgentThatCannotStart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(versionFile)
	n.up()
	n.whole("shop", 1)
	identity := filepath.Join(n.opt.Dirs.State, "identity")
	must(t, os.Rename(identity, identity+".away"))
	must(t, os.WriteFile(identity, nil, 0o600))
	agent, err := os.FindProcess(n.status().Role("agent").PID)
	must(t, err)
	must(t, agent.Kill())
	for until := time.Now().Add(3 * hang); !strings.Contains(n.said(), "agent does not answer") || !strings.Contains(n.said(), identity); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the front says\n%s\n%s", n.said(), n.story())
		}
	}
	must(t, os.Remove(identity))
	must(t, os.Rename(identity+".away", identity))
	n.whole("shop", 1)
}
