package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/l7"
)

// A proxy whose last orders are damaged waits for new ones, says so, and keeps
// those for the next proxy.
func TestProxyStartsOverDamagedSnapshot(t *testing.T) {
	t.Parallel()
	for _, damage := range sortedKeys(damages) {
		if damage == "unreadable" && os.Geteuid() == 0 {
			continue // root reads it
		}
		var said strings.Builder
		o := Options{Dirs: DirsIn(t.TempDir()), Log: slog.New(slog.NewTextHandler(&said, nil))}
		must(t, os.MkdirAll(o.Dirs.proxy(), 0o700))
		file := filepath.Join(o.Dirs.proxy(), "snapshot.json")
		snapshot := l7.Snapshot{Backstay: "l7 snapshot", V: l7.SnapshotVersion, Gen: 7}
		must(t, l7.WriteSnapshot(file, snapshot))
		must(t, damages[damage](file))
		before, _ := os.ReadFile(file)
		r := newProxyRole(o)
		r.resume(t.Context(), file)
		if !strings.Contains(said.String(), "last snapshot not served") || r.proxy.Generation() != 0 {
			t.Errorf("%s: it serves %d, and says %q", damage, r.proxy.Generation(), said.String())
		}
		aside := o.Dirs.asideProblems()
		if newer := damage == "newer"; newer != (len(aside) == 0) {
			t.Errorf("%s: aside: %+v", damage, aside)
		}
		for _, p := range aside {
			if text, _ := os.ReadFile(p.Where); string(text) != string(before) {
				t.Errorf("%s: what was there is %q now, it was %q", damage, text, before)
			}
		}
		must(t, r.proxy.Apply(t.Context(), snapshot))
		if s, err := l7.ReadSnapshot(file); err != nil || s.Gen != 7 {
			t.Errorf("%s: the next one is not kept: %+v, %v", damage, s, err)
		}
	}
}

// A proxy that is killed and finds its last orders damaged serves again as soon as
// the agent has told it.
func TestDamagedSnapshotHealsItself(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	file := filepath.Join(n.opt.Dirs.proxy(), "snapshot.json")
	for _, damage := range []string{"truncated", "newer", "a directory", "a link to itself"} {
		must(t, damages[damage](file))
		n.kill("proxy")
		if text, err := get(url); err != nil || text != "one " {
			t.Errorf("%s: %q, %v", damage, text, err)
		}
		n.until("its orders are kept again", func(api.Status) bool { _, err := l7.ReadSnapshot(file); return err == nil })
	}
	if s := n.status(); len(problemsOfCode(s, "state_broken")) != 3 {
		t.Errorf("status says %+v", s.Problems)
	}
}

func problemsOfCode(s api.Status, code string) (out []backstay.Problem) {
	for _, p := range s.Problems {
		if p.Code == code {
			out = append(out, p)
		}
	}
	return out
}

// The uid of the proxy may be lost while it runs: it goes on, and so do its
// requests.
func TestDamagedUIDOfTheProxyStopsNothing(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to give the proxy a uid")
	port := hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	proxy := n.status().Role("proxy").PID
	uid := n.one(n.opt.Dirs.State + "/identity/proxy.uid")
	for _, damage := range []string{"junk", "a directory", "a link to itself"} {
		must(t, damages[damage](uid))
		n.kill("agent")
		n.whole("shop", 2)
		if _, err := readUID(uid); err != nil {
			t.Errorf("%s: there is none again: %v", damage, err)
		}
		if text, err := get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err != nil || text != "one " {
			t.Errorf("%s: %q, %v", damage, text, err)
		}
	}
	s := n.status()
	if s.Role("proxy").PID != proxy || len(problemsOfCode(s, "state_broken")) != 3 {
		t.Errorf("proxy %d, was %d; status says %+v", s.Role("proxy").PID, proxy, s.Problems)
	}
	n.kill("proxy")
	if text, err := get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err != nil || text != "one " {
		t.Errorf("the next proxy: %q, %v", text, err)
	}
}

// What was stopped on purpose stays so whatever becomes of the mark, and starts when
// that is asked for.
func TestDamagedMarkOfDownStaysDownAndEnds(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	mark := filepath.Join(n.opt.Dirs.Run, "down")
	for _, damage := range []string{"empty", "newer", "a directory", "a link to itself"} {
		must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
		must(t, damages[damage](mark))
		n.kill("agent")
		if s := n.status(); s.Down == nil || !s.Down.Done || s.Down.By != "an unreadable mark" || s.Down.Since.IsZero() {
			t.Errorf("%s: %+v", damage, s.Down)
		}
		must(t, n.apply(versionFile))
		n.whole("shop", 1)
		if _, err := os.Lstat(mark); err == nil {
			t.Errorf("%s: the mark is still there", damage)
		}
	}
}

// What a proxy has put in place of its files is not followed: its directory is its
// own, what it points at is not.
func TestLinkOfTheProxyIsNotFollowed(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to give files away")
	const proxy = 61300
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, nil, 0o600))
	held, err := os.Open(secret)
	must(t, err)
	defer func() { _ = held.Close() }()
	l := newLink(t.TempDir(), slog.New(slog.DiscardHandler))
	for name, path := range map[string]string{"": "snapshot.json", heldAPI: "sock", heldFiles: "files"} {
		must(t, os.Symlink(secret, filepath.Join(dir, path)))
		l.keep(name, held)
	}
	must(t, l.holdProxySockets(t.Context(), dir, proxy))
	info, err := os.Stat(secret)
	must(t, err)
	if uid := reflect.ValueOf(info.Sys()).Elem().FieldByName("Uid").Uint(); uid != 0 {
		t.Errorf("it is user %d's now", uid)
	}
}
