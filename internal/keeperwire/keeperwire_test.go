package keeperwire_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// full is a spec in which no field is zero: one that is forgotten on the wire
// shows.
func full() keeperwire.Spec {
	return keeperwire.Spec{
		ID: "shop-7f3a9c", Meta: []byte{0, 1}, Argv: []string{"/srv/shop", "", "-v"}, Env: []string{"A=", "B=2"}, Dir: "/srv",
		SetIDs: true, UID: 65534, GID: 65533, Groups: []uint32{0, 4}, Umask: 0o27, Nice: -5, OOMScoreAdj: -900,
		Rlimits: []keeperwire.Rlimit{{Resource: 7, Soft: 1024, Hard: 1 << 63}}, FDs: []string{"http"}, Cgroup: "shop/shop-7f3a9c",
		LogFile: "/var/log/shop.log", LogMaxSize: 64 << 20, LogMaxFiles: 10, LogDrop: true,
		Restart: restart.Policy{
			When: restart.Never, Min: time.Second, Max: time.Minute, ResetAfter: time.Hour,
			Limit: 10, Window: 10 * time.Minute, RetryEvery: 5 * time.Minute,
		},
		Signal: 15, GraceMS: 10000, SilentMS: 10000,
	}
}

func exit() keeperwire.Exit {
	return keeperwire.Exit{
		At: 1, PID: 2, Known: true, Code: -3, Signal: 9, Core: true, OOM: true, Asked: true,
		Stage: "setuid: EPERM", Reason: "liveness", UserMS: 4, SysMS: 5, RSSKiB: 6,
	}
}

func slot() keeperwire.Slot {
	return keeperwire.Slot{
		ID: "shop-7f3a9c", Meta: []byte("m"), SpecHash: 1 << 60, State: keeperwire.Failed, PID: 7, Ticks: 8, Started: 9, StartedAt: 10,
		Starts: 11, Failures: 12, NextStart: -13, Ready: true, Note: []byte("n"), Last: exit(), Dropped: 14, Why: "clone: EAGAIN",
	}
}

func message() keeperwire.Msg {
	spec, s := full(), slot()
	return keeperwire.Msg{
		Kind: keeperwire.Put, N: 1 << 31, ID: "a", Name: "b", Code: "c", Text: "d", Seq: 1 << 62, Signal: -1, Flag: true, Version: 0x0102,
		Welcome: &keeperwire.Welcome{Version: 1, Gen: 2, PID: 3, BootID: "b", Cgroups: true, Why: "w"},
		Spec:    &spec, Slot: &s, Note: []byte{0},
		Event: &keeperwire.Event{
			Seq: 1, At: 2, Boot: 3, Kind: keeperwire.EvExited, ID: "x", PID: 4, State: keeperwire.Backoff,
			NextStart: 5, Starts: 6, Failures: 7, N: 8, Exit: exit(), Text: []byte("t"),
		},
		Probe: &keeperwire.Probe{
			ID: "x", Name: "liveness", N: 1, Argv: []string{"/p"}, Env: []string{"E="}, Dir: "/", SetIDs: true,
			UID: 1, GID: 2, Groups: []uint32{3}, TimeoutMS: 1000,
		},
	}
}

func record() keeperwire.Record {
	r := keeperwire.Record{
		Slot: slot(), SpecArea: 1, SpecLen: 2, Cgroup: "c", LogFile: "/l", KillAt: 5,
		Ended: true, Asked: true, Crashed: true, Reason: "r",
		Machine: restart.Machine{Wanted: true, Running: true, Failed: true, Told: true, Failures: 1, Pause: 2, Up: 3, ReadyAt: 4, Due: 5, Part: 6},
	}
	for i := range r.Machine.Counts {
		r.Machine.Counts[i] = uint32(i)
	}
	return r
}

func TestEveryFieldComesBack(t *testing.T) {
	m := message()
	noZero(t, "Msg", reflect.ValueOf(m))
	got, err := keeperwire.Decode(m.Append(nil))
	if diff := cmp.Diff(m, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	r := record()
	noZero(t, "Record", reflect.ValueOf(r))
	back, err := keeperwire.DecodeRecord(r.Append(nil))
	if diff := cmp.Diff(r, back); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// noZero fails for fields that were added to a type and not to these tests.
func noZero(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		noZero(t, name, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			noZero(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	default:
		if v.IsZero() {
			t.Errorf("%s is zero: the test does not cover it", name)
		}
	}
}

func TestNewerFieldsAreSkipped(t *testing.T) {
	m := keeperwire.Msg{Kind: keeperwire.Start, N: 1, ID: "x"}
	frame := append(m.Append(nil), 250, 3, 0, 0, 'n', 'e', 'w')
	if got, err := keeperwire.Decode(frame); err != nil || got.ID != "x" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestMalformedFramesAreErrors(t *testing.T) {
	m := message()
	good := m.Append(nil)
	for name, b := range map[string][]byte{
		"empty": nil, "no number": {1, 2}, "kind zero": append([]byte{0}, good[1:]...), "cut": good[:len(good)-1],
		"one byte more": append(bytes.Clone(good), 1), "too long": make([]byte, keeperwire.MaxFrame+1),
		"a number of nine bytes": {1, 0, 0, 0, 0, 5, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		"a flag of two":          {1, 0, 0, 0, 0, 7, 1, 0, 0, 2},
		"a broken struct":        {1, 0, 0, 0, 0, 12, 2, 0, 0, 1, 1},
		"a value past the end":   {1, 0, 0, 0, 0, 1, 255, 255, 255, 'x'},
	} {
		if _, err := keeperwire.Decode(b); !errors.Is(err, keeperwire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHashKnowsEveryField(t *testing.T) {
	base := full()
	if again := full(); base.Hash() != again.Hash() {
		t.Fatal("equal specs, other hashes")
	}
	v := reflect.ValueOf(&base).Elem()
	for i := range v.NumField() {
		changed := full()
		f := reflect.ValueOf(&changed).Elem().Field(i)
		f.Set(reflect.Zero(f.Type()))
		if changed.Hash() == base.Hash() {
			t.Errorf("%s does not count", v.Type().Field(i).Name)
		}
	}
}

func TestBootFile(t *testing.T) {
	a, b := full(), keeperwire.Spec{ID: "backstay-agent", Argv: []string{"/usr/bin/backstay"}}
	file := keeperwire.AppendBoot(keeperwire.AppendBoot(nil, &a), &b)
	got, err := keeperwire.DecodeBoot(file)
	if diff := cmp.Diff([]keeperwire.Spec{a, b}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	got, err = keeperwire.DecodeBoot(file[:len(file)-1])
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "entry 1 is malformed") {
		t.Errorf("%d specs, %v", len(got), err)
	}
}

func TestSpecsThatAreRefused(t *testing.T) {
	for want, change := range map[string]func(*keeperwire.Spec){
		"want 1 to 63 of":       func(s *keeperwire.Spec) { s.ID = "../etc" },
		"argv: want":            func(s *keeperwire.Spec) { s.Argv = []string{"shop"} },
		"dir \"srv\"":           func(s *keeperwire.Spec) { s.Dir = "srv" },
		"log file":              func(s *keeperwire.Spec) { s.LogFile = "x.log" },
		"meta":                  func(s *keeperwire.Spec) { s.Meta = make([]byte, keeperwire.MaxMeta+1) },
		"fds: more":             func(s *keeperwire.Spec) { s.FDs = make([]string, keeperwire.MaxFDs+1) },
		"unknown policy":        func(s *keeperwire.Spec) { s.Restart.When = 9 },
		"stop signal 65":        func(s *keeperwire.Spec) { s.Signal = 65 },
		"want names joined":     func(s *keeperwire.Spec) { s.Cgroup = "shop/../../x" },
		"zero byte":             func(s *keeperwire.Spec) { s.Env = []string{"A=\x00"} },
		"want no colon":         func(s *keeperwire.Spec) { s.FDs = []string{"a:b"} },
		"shorten argv or env":   func(s *keeperwire.Spec) { s.Env = []string{strings.Repeat("x", keeperwire.MaxSpec)} },
		"cgroup \"/sys\": want": func(s *keeperwire.Spec) { s.Cgroup = "/sys" },
	} {
		s := full()
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	s := full()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

func TestMarksComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := keeperwire.Mark{
			Offset: rapid.Uint64Range(0, 1<<48-1).Draw(t, "offset"), At: rapid.Int64().Draw(t, "at"),
			Stream: keeperwire.Stream(rapid.IntRange(0, 2).Draw(t, "stream")), Flags: rapid.Uint8().Draw(t, "flags"),
		}
		b := keeperwire.AppendMark(nil, m)
		if got, err := keeperwire.DecodeMark(b); err != nil || got != m || len(b) != keeperwire.MarkSize {
			t.Fatal(got, err)
		}
	})
	if keeperwire.Rotated("/l", 0) != "/l" || keeperwire.Index(keeperwire.Rotated("/l", 2)) != "/l.2.idx" {
		t.Error("names of rotated logs")
	}
}
