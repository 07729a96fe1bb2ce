package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLogsOfGoneInstancesAreKeptForAWhileAndNothingElseIsTouched(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	write := func(name string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 15 {
		write(fmt.Sprintf("shop-00000%x.log", i), time.Duration(i+1)*time.Hour)
		write(fmt.Sprintf("shop-00000%x.log.idx", i), time.Duration(i+1)*time.Hour)
	}
	write("shop-aaaaaa.log", 30*24*time.Hour) // lives, and has long said nothing
	write("shop-aaaaaa.log.1", 40*24*time.Hour)
	write("notes.log", 90*24*time.Hour)
	write("shop-1.log", 90*24*time.Hour)
	a := &agent{log: slog.New(slog.DiscardHandler)}
	a.sweepService(dir, map[string]bool{"shop-aaaaaa": true}, now)
	for name, want := range map[string]bool{
		"shop-000000.log": true, "shop-000009.log": true, "shop-000009.log.idx": true,
		"shop-00000a.log": false, "shop-00000a.log.idx": false, "shop-00000e.log": false,
		"shop-aaaaaa.log": true, "shop-aaaaaa.log.1": true, "notes.log": true, "shop-1.log": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	a.sweepService(dir, map[string]bool{"shop-aaaaaa": true}, now.Add(15*24*time.Hour))
	if _, err := os.Stat(filepath.Join(dir, "shop-000000.log")); err == nil {
		t.Error("a log of two weeks ago is still there")
	}
}
