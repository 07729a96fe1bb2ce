package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Sizes of the comparison: short rounds in turn, so that a slow minute of the
// machine falls on all alike.
const (
	cpuRounds  = 7
	cpuSeconds = 2
	cpuConns   = 64
)

// Addresses on the loopback.
const (
	originAddr   = "127.0.0.1:18200"
	backstayAddr = "127.0.0.1:18201"
	nginxAddr    = "127.0.0.1:18202"
	haproxyAddr  = "127.0.0.1:18203"
)

// proxyUnderTest is a proxy in front of the origin.
type proxyUnderTest struct {
	name, addr string
	comm       string // of its processes
	start      func(ctx context.Context, dir string) (stop func(), err error)
	micros     []float64 // CPU per request, one a round
	rates      []float64 // requests per second
}

func cpuBench(ctx context.Context, r *report) error {
	dir, err := os.MkdirTemp("", "bs-cpu-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_ = os.Chmod(dir, 0o755)
	stop, err := startNginx(ctx, dir, "origin", originConf)
	if err != nil {
		return err
	}
	defer stop()
	proxies := []*proxyUnderTest{
		{name: "backstay", addr: backstayAddr, comm: "backstay", start: cpuBackstay},
		{name: "nginx", addr: nginxAddr, comm: "nginx", start: func(ctx context.Context, dir string) (func(), error) {
			return startNginx(ctx, dir, "proxy", nginxProxyConf)
		}},
		{name: "haproxy", addr: haproxyAddr, comm: "haproxy", start: startHAProxy},
	}
	for _, p := range proxies {
		stop, err := p.start(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer stop()
		if err := awaitPort(ctx, p.addr); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for range cpuRounds {
		for _, p := range proxies {
			if err := p.round(ctx, dir); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	r.printf("%d kept connections, 128 B, %d rounds of %d s in turn, no access log\n", cpuConns, cpuRounds, cpuSeconds)
	r.printf("%-10s %14s %12s\n", "", "CPU/request", "requests/s")
	for _, p := range proxies {
		r.printf("%-10s %12.1fus %12.0f\n", p.name, median(p.micros), median(p.rates))
	}
	for _, p := range proxies[1:] {
		r.printf("CPU backstay / %s, medians: %.2f\n", p.name, median(proxies[0].micros)/median(p.micros))
	}
	return nil
}

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
var wrkTotal = regexp.MustCompile(`(\d+) requests in`)

func (p *proxyUnderTest) round(ctx context.Context, dir string) error {
	pids, err := listeners(p, dir)
	if err != nil {
		return err
	}
	before := cpuTime(pids)
	out, err := exec.CommandContext(ctx, "wrk", "-t1", fmt.Sprintf("-c%d", cpuConns), fmt.Sprintf("-d%ds", cpuSeconds), "http://"+p.addr+"/b").CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, out)
	}
	if strings.Contains(string(out), "Non-2xx") || strings.Contains(string(out), "Socket errors") {
		return fmt.Errorf("wrk saw failures: %s", out)
	}
	total, rate := wrkTotal.FindSubmatch(out), wrkRate.FindSubmatch(out)
	if total == nil || rate == nil {
		return fmt.Errorf("wrk said %s", out)
	}
	n, _ := strconv.ParseFloat(string(total[1]), 64)
	perSecond, _ := strconv.ParseFloat(string(rate[1]), 64)
	p.micros = append(p.micros, float64((cpuTime(pids)-before).Microseconds())/n)
	p.rates = append(p.rates, perSecond)
	return nil
}

// listeners returns the processes of p: those of its name that were started
// with a path under dir, or, of backstay, the proxy role.
func listeners(p *proxyUnderTest, dir string) ([]int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range procs {
		b, _ := os.ReadFile(f)
		args := strings.ReplaceAll(string(b), "\x00", " ")
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		switch {
		case p.name == "backstay" && strings.Contains(args, "role proxy") && strings.Contains(args, dir):
			pids = append(pids, pid)
		case p.name == "haproxy" && strings.Contains(args, "haproxy") && strings.Contains(args, dir):
			pids = append(pids, pid)
		case p.name == "nginx" && strings.Contains(args, "nginx") && strings.Contains(args, dir+"/proxy"):
			pids = append(pids, pid)
			pids = append(pids, childrenOf(pid)...)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("no process of it found")
	}
	return pids, nil
}

func childrenOf(pid int) []int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(f)
		pids = append(pids, n)
	}
	return pids
}

// cpuTime sums the time on a CPU of all threads of pids: /proc/PID/task/TID/schedstat,
// first field, ns.
func cpuTime(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			first, _, _ := strings.Cut(string(b), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

func awaitPort(ctx context.Context, addr string) error {
	for end := time.Now().Add(reappears); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("nothing answers at %s", addr)
}

const originConf = `worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log; daemon off; user root;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s;
fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen ` + originAddr + `; location / { return 200 "` + body128 + `"; } } }
`

const nginxProxyConf = `worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log; daemon off; user root;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s;
fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
upstream o { server ` + originAddr + `; keepalive 1024; keepalive_requests 100000000; }
server { listen ` + nginxAddr + `; location / { proxy_pass http://o; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }
`

const haproxyConf = `global
 nbthread 1
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 http-reuse always
 option forwardfor
frontend f
 bind ` + haproxyAddr + `
 default_backend o
backend o
 server s ` + originAddr + `
`

const body128 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func startNginx(ctx context.Context, dir, name, conf string) (func(), error) {
	prefix := filepath.Join(dir, name)
	if err := os.MkdirAll(prefix, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(prefix, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, prefix), 0o644); err != nil {
		return nil, err
	}
	return startGroup(ctx, syscall.SIGTERM, "nginx", "-p", prefix, "-c", file, "-e", filepath.Join(prefix, "error.log"))
}

func startHAProxy(ctx context.Context, dir string) (func(), error) {
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(haproxyConf), 0o644); err != nil {
		return nil, err
	}
	return startGroup(ctx, syscall.SIGTERM, "haproxy", "-db", "-f", file)
}

// cpuBackstay runs the origin's twin as a service, because a service is the
// only backend there is: an nginx of its own, with the same answer.
func cpuBackstay(ctx context.Context, dir string) (func(), error) {
	own := filepath.Join(dir, "backstay")
	if err := os.MkdirAll(own, 0o755); err != nil {
		return nil, err
	}
	conf := strings.ReplaceAll(originConf, originAddr, "127.0.0.1:18204")
	if err := os.WriteFile(filepath.Join(own, "nginx.conf"), fmt.Appendf(nil, conf, own), 0o644); err != nil {
		return nil, err
	}
	return up(ctx, own, fmt.Sprintf(`schema: 1
services:
  o:
    run: { exec: [/usr/sbin/nginx, -p, %[1]s, -c, %[1]s/nginx.conf, -e, %[1]s/error.log], user: root }
    ports: { http: 18204 }
    deploy: { strategy: recreate }
    traffic: { keepalive: 1024 }
frontends:
  f: { bind: ["%[2]s"], routes: [{ to: o }] }
`, own, backstayAddr))
}
