package keeper_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// binary is the real keeper, built once.
var binary string

// hang is a ceiling against tests that hang; it measures nothing.
const hang = 2 * time.Minute

func TestMain(m *testing.M) {
	if role := os.Getenv("BACKSTAY_TEST_CHILD"); role != "" {
		child(role)
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "backstay-keeper-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_ = os.Chmod(dir, 0o755)
	binary = filepath.Join(dir, "backstay-keeper")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "../../../cmd/backstay-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

// eventually waits for something that has no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(hang)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
