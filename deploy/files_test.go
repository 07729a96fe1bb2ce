package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNothingIsDoneThatCannotBeWrittenDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.untilIt("one there", func(d Deploy) bool { return d.Waits != "" })
		mend := h.noDisk()
		time.Sleep(time.Second)
		before := len(h.did())
		time.Sleep(10 * time.Second)
		if did := h.did(); len(did) != before {
			t.Errorf("done without a record: %q", did[before:])
		}
		_, err := h.Pause(h.t.Context(), "shop", "ann")
		h.code(err, "disk")
		mend()
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

// noDisk makes the state unwritable until the function it returns is called.
func (h *house) noDisk() (mend func()) {
	deploys := filepath.Join(h.dir, "deploys")
	if err := errors.Join(os.Rename(deploys, deploys+".away"), os.WriteFile(deploys, nil, 0o600)); err != nil {
		h.t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.Remove(deploys), os.Rename(deploys+".away", deploys)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// Keeping what is wanted needs no record, and going back does not wait for one.
// Instances that die all the time decide nothing: the record is not written, and
// how often they have died is shown all the same.
func TestACrashLoopIsNotWrittenDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wantRelease("v1", 1, diesAtOnce, nil)
		h.apply()
		deaths := func(d Deploy) (n int) {
			for _, m := range d.Members {
				n += m.Dead
			}
			return n
		}
		first := h.untilIt("all are there", func(d Deploy) bool { return len(d.Members) == 3 && deaths(d) > 3 })
		before, err := os.ReadFile(h.files.record("shop"))
		if err != nil {
			t.Fatal(err)
		}
		h.untilIt("dying on", func(d Deploy) bool { return deaths(d) > deaths(first)+3 })
		if after, err := os.ReadFile(h.files.record("shop")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the record was written anew: %v", err)
		}
	})
}

func TestAFullDiskDoesNotKeepAServiceDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		mend := h.noDisk()
		h.pool.do(func() { h.pool.w.bodies = h.pool.w.bodies[1:] })
		time.Sleep(5 * time.Second)
		h.serve("shop@1 x3")
		mend()

		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.untilIt("one there", func(d Deploy) bool { return d.Waits != "" })
		mend = h.noDisk()
		time.Sleep(10 * time.Second)
		h.serve("shop@1 x3")
		h.pool.do(func() {
			if n := len(h.pool.w.bodies); n != 3 {
				t.Errorf("%d instances: the bad release is still there", n)
			}
		})
		mend()
		h.until(RolledBack)
		h.killed()
		time.Sleep(time.Minute)
		h.serve("shop@1 x3")
	})
}

func TestABrokenRecordIsPutAsideAndMadeAnew(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.close()
		record := filepath.Join(h.dir, "deploys", "shop.json")
		if err := os.WriteFile(record, []byte(`{"backstay": "depl`), 0o600); err != nil {
			t.Fatal(err)
		}
		before := h.seen()
		h.open()
		h.apply()
		time.Sleep(time.Minute)
		if rel, _ := h.Current("shop"); rel.Seq != 2 || h.seen() != before {
			t.Errorf("in force is %s, and there is\n%s\ninstead of\n%s", rel.ID(), h.seen(), before)
		}
		if aside, _ := filepath.Glob(record + ".broken-*"); len(aside) != 1 {
			t.Errorf("put aside: %q", aside)
		}
	})
}

func TestARecordOfANewerVersionIsLeftAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.close()
		record := filepath.Join(h.dir, "deploys", "shop.json")
		newer := []byte(`{"backstay": "deploys", "v": 2, "service": "shop"}`)
		if err := os.WriteFile(record, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		before := h.seen()
		h.open()
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		time.Sleep(time.Minute)
		_, err := h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "state_newer")
		if o := h.Outcome(h.t.Context(), "shop", 0, ""); o.What != Unhealed || !strings.Contains(o.Why, record) {
			t.Errorf("what was wanted: %+v", o)
		}
		if !strings.Contains(err.Error(), record) {
			t.Errorf("%v does not name the file", err)
		}
		if text, _ := os.ReadFile(record); string(text) != string(newer) || h.seen() != before {
			t.Error("something was touched")
		}
	})
}

func TestReleasesAreForgottenButForThoseThatAreNeeded(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		for seq := 2; seq <= 8; seq++ {
			p := fine
			if seq == 8 {
				p = diesAtOnce
			}
			h.wantRelease(fmt.Sprintf("v%d", seq), seq, p, func(w *Want) { w.Config.KeepReleases = 1 })
			h.apply()
			h.untilIt("over", func(d Deploy) bool { return d.To == seq && d.State.Ended() })
		}
		var kept []string
		for _, r := range h.Releases("shop") {
			kept = append(kept, fmt.Sprintf("%d current=%v good=%v undone=%v", r.Seq, r.Current, r.Good, r.Undone != ""))
		}
		want := []string{
			"8 current=false good=false undone=true", "7 current=true good=true undone=false",
			"6 current=false good=true undone=false", "5 current=false good=true undone=false",
		}
		if !slices.Equal(kept, want) {
			t.Errorf("kept %q", kept)
		}
		on, _ := filepath.Glob(filepath.Join(h.dir, "releases", "shop", "*.json"))
		if len(on) != 4 {
			t.Errorf("on disk: %q", on)
		}
		if info, err := os.Stat(on[0]); err != nil || info.Mode().Perm() != 0o600 {
			t.Error("a release, which holds env files, may be read by others")
		}
	})
}

// With all of the state gone, what runs is replaced and not mistaken for a
// release that happens to get its number.
func TestANewReleaseNeverGetsTheNumberOfOneThatRuns(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.close()
		if err := errors.Join(os.RemoveAll(filepath.Join(h.dir, "releases")), os.RemoveAll(filepath.Join(h.dir, "deploys"))); err != nil {
			t.Fatal(err)
		}
		h.open()
		h.wantRelease("v9", 3, fine, nil)
		h.apply()
		h.until(Done)
		h.serve("shop@3 x3")
		h.pool.do(func() {
			if n := len(h.pool.w.bodies); n != 3 {
				t.Errorf("%d instances", n)
			}
		})
	})
}

// Files of every version that was ever written are read.
func TestFilesOfVersion1AreRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/state-v1")); err != nil {
		t.Fatal(err)
	}
	p := newPool()
	d, err := New(Options{Pool: p, Traffic: p, Check: p, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rel, _ := d.Current("shop")
	last, _ := d.Status("shop")
	st, _ := d.Standing("shop")
	got := fmt.Sprintf("%s %s, %s %s after %s: %s; %d releases, %d deploys", rel.ID(), rel.Version, last.ID, last.State,
		last.Ended.Sub(last.Started).Round(time.Second), last.Reason, len(d.Releases("shop")), len(d.History("shop")))
	want := "shop@1 v1, shop-d2 rolled_back after 3s: shop-3fa9c4 exited 3, 1.5s after it was ready; " +
		"no instance of shop@2 was ever good; 2 releases, 2 deploys"
	if got != want || st.Current != "shop@1" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if broken, _ := filepath.Glob(filepath.Join(dir, "*", "*.broken-*")); len(broken) != 0 {
		t.Errorf("put aside: %q", broken)
	}
}
