package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// startBench measures sizes and a cold start.
func startBench(ctx context.Context, r *report) error {
	rows := [][]string{}
	for _, f := range []struct{ name, path string }{{"backstay, the keeper within", program}, {"keeper", "host/proc/keeperbin/bin/keeper"}} {
		info, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		rows = append(rows, []string{f.name, mb(int(info.Size()))})
		r.figure("size of "+f.name, mb(int(info.Size())))
	}
	r.table([]string{"static binary", "size"}, rows)
	var took []time.Duration
	for range r.rounds(10, 2) {
		d, err := coldStart(ctx)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	r.note("from the exec of `backstay up` with nothing there, no directory, no keeper, to the first answer of one instance behind a frontend")
	r.table([]string{"cold up to first answer", "times", "median", "max"}, [][]string{{"backstay", strconv.Itoa(len(took)), ms(quantile(took, 0.5)), ms(quantile(took, 1))}})
	r.figure("cold up to first answer, median", ms(quantile(took, 0.5)))
	return nil
}

func coldStart(ctx context.Context) (time.Duration, error) {
	w, err := newWorkplace("start")
	if err != nil {
		return 0, err
	}
	defer w.close()
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := up(w.dir, fmt.Sprintf(`schema: 1
services:
  app:
    run: { exec: [%s, app, -listen, "127.0.0.1:${port.http}", -name, v1], user: "%s" }
    ports: { http: auto }
    probes: { readiness: { http: /healthz, period: 100ms, timeout: 100ms } }
frontends:
  web: { bind: ["%s"], routes: [{ to: app }] }
`, exe, owner(), loopback(ports[0])))
	if err != nil {
		return 0, err
	}
	defer n.stop()
	err = await(ctx, appears, time.Millisecond, func() string { return unlessServed(ctx, loopback(ports[0])) })
	return time.Since(began), err
}

// unlessServed asks once, on a connection of its own.
func unlessServed(ctx context.Context, addr string) string {
	c, err := dial(ctx, addr)
	if err != nil {
		return err.Error()
	}
	defer c.close()
	if _, _, err := c.ask(http.MethodGet + " / HTTP/1.1\r\nHost: bench.example\r\n\r\n"); err != nil {
		return err.Error()
	}
	return ""
}
