package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// asShop makes the test program be a shop.
const asShop = "SHOP_TEST_IS_SHOP"

func TestMain(m *testing.M) {
	if os.Getenv(asShop) != "" {
		main()
	}
	os.Exit(m.Run())
}

// start runs a shop as a process of its own and returns it once it is open,
// with its first line.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, errs *strings.Builder, opened string) {
	t.Helper()
	cmd = exec.CommandContext(hanging(t), os.Args[0], append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asShop+"=1")
	errs = new(strings.Builder)
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	opened, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v, %s", err, errs)
	}
	return cmd, errs, opened
}

func TestItLeavesAtOnceWhenTold(t *testing.T) {
	for _, flags := range [][]string{nil, {"--graceful"}} {
		cmd, errs, opened := start(t, append(flags, "--version", "v1")...)
		if !strings.Contains(opened, " 1 open at 127.0.0.1:") || !strings.Contains(opened, "version v1") {
			t.Errorf("first line %q", opened)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, %s", flags, err, errs)
		}
	}
}

func TestABrokenReleaseDiesWithAPanic(t *testing.T) {
	cmd, errs, _ := start(t, "--die-after", "50ms")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != dead {
		t.Errorf("ended with %v, want status %d", err, dead)
	}
	if errs.String() != "panic: assignment to entry in nil map\n" {
		t.Errorf("said %q", errs)
	}
}
