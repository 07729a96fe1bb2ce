package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cpuKinds are what is asked: kept connections, and by which scheme.
var cpuKinds = []cpuKind{{"http", 64}, {"http", 512}, {"https", 64}}

type cpuKind struct {
	scheme string
	conns  int
}

func (k cpuKind) String() string { return fmt.Sprintf("%s, %d connections", k.scheme, k.conns) }

// cpuProxy is a proxy in front of the origin.
type cpuProxy struct {
	name         string
	plain, https string // addresses
	pids         func() []int
	micros       map[cpuKind][]float64 // CPU per request, one a round
	rates        map[cpuKind][]float64 // requests per second
}

// cpuScene is what the proxies share.
type cpuScene struct {
	w         *workplace
	cert, key string
	ports     []int
	origin    string
}

func cpuBench(ctx context.Context, r *report) error {
	w, err := newWorkplace("cpu")
	if err != nil {
		return err
	}
	defer w.close()
	s, err := newCPUScene(w)
	if err != nil {
		return err
	}
	stop, err := s.startOrigin(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var all []*cpuProxy
	for _, start := range []func(context.Context, *cpuScene) (*cpuProxy, func(), error){cpuBackstay, cpuNginx, cpuHAProxy} {
		p, stop, err := start(ctx, s)
		if err != nil {
			return err
		}
		defer stop()
		if err := await(ctx, appears, look, p.unlessAnswers(ctx)); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		p.micros, p.rates = map[cpuKind][]float64{}, map[cpuKind][]float64{}
		all = append(all, p)
	}
	rounds, each := r.rounds(7, 1), r.pick(2*time.Second, time.Second)
	for i := range rounds + 1 {
		for _, k := range cpuKinds {
			for _, p := range all {
				if err := p.round(ctx, k, each); err != nil {
					return fmt.Errorf("%s: %s: %w", p.name, k, err)
				}
				if i == 0 { // pools fill, heaps grow
					p.micros[k], p.rates[k] = nil, nil
				}
			}
		}
	}
	r.note("kept connections on both sides, answers of %d B, X-Forwarded-For, no access log, %d rounds of %v each in turn after one to warm up; nginx and HAProxy with one worker, "+
		"TLS 1.3 with ECDSA P-256; CPU is that of the proxy alone (schedstat)", len(body128), rounds, each)
	cpuTable(r, all)
	return nil
}

func cpuTable(r *report, all []*cpuProxy) {
	for _, k := range cpuKinds {
		var rows [][]string
		for _, p := range all {
			rows = append(rows, []string{
				p.name, fmt.Sprintf("%.1f µs", median(p.micros[k])), fmt.Sprintf("%.0f", median(p.rates[k])),
				fmt.Sprintf("%.2f", median(all[0].micros[k])/median(p.micros[k])),
			})
		}
		r.table([]string{k.String(), "CPU/request", "requests/s", "backstay / it"}, rows)
		for _, p := range all[1:] {
			r.figure(fmt.Sprintf("CPU per request, %s, beside %s", k, p.name), fmt.Sprintf("%.2f", median(all[0].micros[k])/median(p.micros[k])))
		}
	}
}

// unlessAnswers is for await: both addresses of p give the right answer.
func (p *cpuProxy) unlessAnswers(ctx context.Context) func() string {
	return func() string {
		for _, url := range []string{"http://" + p.plain, "https://" + p.https} {
			out, err := exec.CommandContext(ctx, "curl", "-sk", "--max-time", "5", url).Output()
			if err != nil || string(out) != body128 {
				return fmt.Sprintf("%s answers %q, %v", url, shortest(out), err)
			}
		}
		return ""
	}
}

var (
	wrkRate  = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkTotal = regexp.MustCompile(`(\d+) requests in`)
)

func (p *cpuProxy) round(ctx context.Context, k cpuKind, d time.Duration) error {
	addr := p.plain
	if k.scheme == "https" {
		addr = p.https
	}
	pids := p.pids()
	before := cpuTime(pids...)
	out, err := exec.CommandContext(ctx, "wrk", "-t1", fmt.Sprintf("-c%d", k.conns), fmt.Sprintf("-d%v", d), k.scheme+"://"+addr+"/").CombinedOutput()
	spent := cpuTime(pids...) - before
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
	if n == 0 || spent <= 0 {
		return fmt.Errorf("%v requests for %v of CPU in processes %v", n, spent, pids)
	}
	p.micros[k] = append(p.micros[k], float64(spent.Microseconds())/n)
	p.rates[k] = append(p.rates[k], perSecond)
	return nil
}

const body128 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func newCPUScene(w *workplace) (*cpuScene, error) {
	ports, err := freePorts(8)
	if err != nil {
		return nil, err
	}
	s := &cpuScene{w: w, ports: ports, origin: loopback(ports[0]), cert: filepath.Join(w.dir, "cert.pem"), key: filepath.Join(w.dir, "key.pem")}
	cert, key, err := selfSigned()
	if err != nil {
		return nil, err
	}
	for path, text := range map[string][]byte{s.cert: cert, s.key: key, s.both(): append(cert, key...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// both is the certificate and its key in one file, as HAProxy wants them.
func (s *cpuScene) both() string { return filepath.Join(s.w.dir, "both.pem") }

// originConf answers everything with the same body.
func originConf(addr string) string {
	return nginxHead + `server { listen ` + addr + `; location / { return 200 "` + body128 + `"; } } }
`
}

func (s *cpuScene) startOrigin(ctx context.Context) (stop func(), err error) {
	dir, err := s.w.sub("origin")
	if err != nil {
		return nil, err
	}
	p, err := startNginx(dir, originConf(s.origin))
	if err != nil {
		return nil, err
	}
	return p.stop, awaitPort(ctx, s.origin)
}

func cpuNginx(_ context.Context, s *cpuScene) (*cpuProxy, func(), error) {
	dir, err := s.w.sub("nginx")
	if err != nil {
		return nil, nil, err
	}
	p := &cpuProxy{name: "nginx", plain: loopback(s.ports[1]), https: loopback(s.ports[2])}
	proc, err := startNginx(dir, nginxHead+`ssl_certificate `+s.cert+`; ssl_certificate_key `+s.key+`; ssl_protocols TLSv1.3;
upstream o { server `+s.origin+`; keepalive 1024; keepalive_requests 100000000; }
server { listen `+p.plain+`; listen `+p.https+` ssl; location / { proxy_pass http://o; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }
`)
	if err != nil {
		return nil, nil, err
	}
	p.pids = func() []int { return withChildren(proc.pid()) }
	return p, proc.stop, nil
}

func cpuHAProxy(_ context.Context, s *cpuScene) (*cpuProxy, func(), error) {
	dir, err := s.w.sub("haproxy")
	if err != nil {
		return nil, nil, err
	}
	p := &cpuProxy{name: "haproxy", plain: loopback(s.ports[3]), https: loopback(s.ports[4])}
	proc, err := startHAProxy(dir, `global
 nbthread 1
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 http-reuse always
 option forwardfor
frontend f
 bind `+p.plain+`
 bind `+p.https+` ssl crt `+s.both()+` ssl-min-ver TLSv1.3 alpn http/1.1
 default_backend o
backend o
 server s `+s.origin+`
`)
	if err != nil {
		return nil, nil, err
	}
	p.pids = func() []int { return []int{proc.pid()} }
	return p, proc.stop, nil
}

// cpuBackstay runs the origin's twin as a service, because a service is the
// only backend there is: an nginx of its own, with the same answer.
func cpuBackstay(ctx context.Context, s *cpuScene) (*cpuProxy, func(), error) {
	dir, err := s.w.sub("backstay")
	if err != nil {
		return nil, nil, err
	}
	if err := writeNginx(dir, originConf(loopback(s.ports[5]))); err != nil {
		return nil, nil, err
	}
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, nil, err
	}
	p := &cpuProxy{name: "backstay", plain: loopback(s.ports[6]), https: loopback(s.ports[7])}
	n, err := up(dir, fmt.Sprintf(`schema: 1
services:
  o:
    run: { exec: [%[2]s, -p, %[1]s, -c, %[1]s/nginx.conf, -e, %[1]s/error.log], user: "%[3]s" }
    ports: { http: %[4]d }
    probes: { readiness: { http: / } }
    deploy: { strategy: recreate }
    traffic: { keepalive: 1024 }
frontends:
  f: { bind: [%[5]q], routes: [{ to: o }] }
  t: { bind: [%[6]q], tls: { certs: [{ cert: %[7]s, key: %[8]s }], min_version: "1.3" }, routes: [{ to: o }] }
`, dir, nginx, owner(), s.ports[5], p.plain, p.https, s.cert, s.key))
	if err != nil {
		return nil, nil, err
	}
	if err := n.whole(ctx, "o", 1, appears); err != nil {
		n.stop()
		return nil, nil, err
	}
	st, err := n.client.Status(ctx)
	if err != nil {
		n.stop()
		return nil, nil, err
	}
	pid := st.Role("proxy").PID
	p.pids = func() []int { return []int{pid} }
	return p, n.stop, nil
}
