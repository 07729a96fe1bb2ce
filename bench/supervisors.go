package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// startBackstay runs the children as instances of one service.
func startBackstay(dir, child, records string) (*process, error) {
	n, err := up(dir, fmt.Sprintf(`schema: 1
services:
  c:
    run: { exec: [%s, %s, "${port.name}"], user: "%s" }
    ports: { name: auto }
    replicas: %d
    restart: { reset_after: 1s, limit: 100000/1m }
    deploy: { min_ready: 0s, max_surge: %d }
`, child, records, owner(), children, children))
	if err != nil {
		return nil, err
	}
	return n.front, nil
}

func startSupervisord(dir, child, records string) (*process, error) {
	conf := filepath.Join(dir, "supervisord.conf")
	text := fmt.Sprintf("[supervisord]\nnodaemon=true\nlogfile=%s/log\npidfile=%s/pid\n"+
		"[program:c]\ncommand=%s %s c%%(process_num)d\nprocess_name=c%%(process_num)d\nnumprocs=%d\nautorestart=true\n", dir, dir, child, records, children)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return startProcess(syscall.SIGTERM, "supervisord", "-c", conf)
}

func startRunit(dir, child, records string) (*process, error) {
	for i := range children {
		sv := filepath.Join(dir, "sv", fmt.Sprintf("c%d", i))
		if err := os.MkdirAll(sv, 0o755); err != nil {
			return nil, err
		}
		run := fmt.Sprintf("#!/bin/sh\nexec %s %s c%d\n", child, records, i)
		if err := os.WriteFile(filepath.Join(sv, "run"), []byte(run), 0o755); err != nil {
			return nil, err
		}
	}
	return startProcess(syscall.SIGHUP, "runsvdir", filepath.Join(dir, "sv")) // HUP: each runsv gets TERM and takes its child along
}
