package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// program is the binary that `make build` has made.
const program = "bin/backstay"

// startBackstay runs the children as instances of one service.
func startBackstay(ctx context.Context, dir, child, records string) (func(), error) {
	text := fmt.Sprintf(`schema: 1
services:
  c:
    run: { exec: [%s, %s, "${port.n}"], user: root }
    ports: { n: auto }
    replicas: %d
    restart: { reset_after: 1s, limit: 100000/1m }
    deploy: { min_ready: 0s, max_surge: %d }
`, child, records, children, children)
	return up(ctx, dir, text)
}

// up starts `backstay up` on a file with text and returns what ends it and all
// that it runs.
func up(ctx context.Context, dir, text string) (func(), error) {
	file := filepath.Join(dir, "backstay.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	dirs := []string{"--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"), "--log-dir", filepath.Join(dir, "log")}
	stop, err := startGroup(ctx, syscall.SIGINT, append([]string{program, "up", file}, dirs...)...)
	if err != nil {
		return nil, err
	}
	return func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = exec.CommandContext(down, program, append([]string{"down"}, dirs...)...).Run()
		stop()
	}, nil
}
