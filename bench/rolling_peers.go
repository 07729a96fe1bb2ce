package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// nginxHead is what both files of nginx begin with; DIR is where it lives.
const nginxHead = `worker_processes 1; pid DIR/pid; error_log DIR/error.log; daemon off;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path DIR; proxy_temp_path DIR;
fastcgi_temp_path DIR; uwsgi_temp_path DIR; scgi_temp_path DIR;
`

// startNginx runs nginx on conf, DIR filled in, until it is stopped.
func startNginx(dir, conf string) (*process, error) {
	if err := writeNginx(dir, conf); err != nil {
		return nil, err
	}
	return startProcess(syscall.SIGTERM, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
}

func writeNginx(dir, conf string) error {
	if os.Geteuid() == 0 {
		conf = "user root; " + conf // the workplace is ours
	}
	return os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(strings.ReplaceAll(conf, "DIR", dir)), 0o644)
}

// rollNginxConf has the servers that are not down.
func rollNginxConf(s *scene, down int) string {
	var servers strings.Builder
	for i, port := range s.ports {
		fmt.Fprintf(&servers, "server %s", loopback(port))
		if i == down {
			servers.WriteString(" down")
		}
		servers.WriteString("; ")
	}
	return nginxHead + `upstream b { ` + servers.String() + `keepalive 64; }
server { listen ` + s.front + `; location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; } } }
`
}

func startRollNginx(ctx context.Context, s *scene) (func(), error) {
	if err := s.startApps(ctx); err != nil {
		s.stopApps()
		return nil, err
	}
	var err error
	if s.proxy, err = startNginx(s.dir, rollNginxConf(s, -1)); err != nil {
		s.stopApps()
		return nil, err
	}
	return func() { s.proxy.stop(); s.stopApps() }, nil
}

func rollNginxTold(ctx context.Context, s *scene) error {
	return rollTold(ctx, s,
		func(ctx context.Context, i int) error { return reloadNginx(ctx, s, i) },
		func(ctx context.Context, _ int) error { return reloadNginx(ctx, s, -1) })
}

// reloadNginx takes server down out and returns when no worker of before is left.
func reloadNginx(ctx context.Context, s *scene, down int) error {
	old := withChildren(s.proxy.pid())[1:]
	if err := writeNginx(s.dir, rollNginxConf(s, down)); err != nil {
		return err
	}
	if err := s.proxy.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return await(ctx, appears, look, func() string {
		now := withChildren(s.proxy.pid())[1:]
		if len(now) == 0 || slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(now, pid) }) {
			return "an old worker of nginx is still there"
		}
		return ""
	})
}

func startRollHAProxy(ctx context.Context, s *scene) (func(), error) {
	if err := s.startApps(ctx); err != nil {
		s.stopApps()
		return nil, err
	}
	var conf strings.Builder
	conf.WriteString(`global
 nbthread 1
 stats socket ` + filepath.Join(s.dir, "sock") + ` level admin
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
frontend f
 bind ` + s.front + `
 default_backend b
backend b
`)
	for i, port := range s.ports {
		fmt.Fprintf(&conf, " server %s %s\n", serverName(i), loopback(port))
	}
	var err error
	if s.proxy, err = startHAProxy(s.dir, conf.String()); err != nil {
		s.stopApps()
		return nil, err
	}
	return func() { s.proxy.stop(); s.stopApps() }, nil
}

func startHAProxy(dir, conf string) (*process, error) {
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	return startProcess(syscall.SIGTERM, "haproxy", "-db", "-f", file)
}

func rollHAProxyTold(ctx context.Context, s *scene) error {
	return rollTold(ctx, s,
		func(ctx context.Context, i int) error {
			if _, err := tellHAProxy(ctx, s.dir, "set server b/"+serverName(i)+" state drain"); err != nil {
				return err
			}
			return await(ctx, appears, look, func() string { return unlessIdle(ctx, s, i) })
		},
		func(ctx context.Context, i int) error {
			_, err := tellHAProxy(ctx, s.dir, "set server b/"+serverName(i)+" state ready")
			return err
		})
}

// unlessIdle asks HAProxy for the sessions that server i has.
func unlessIdle(ctx context.Context, s *scene, i int) string {
	text, err := tellHAProxy(ctx, s.dir, "show stat b 4 -1")
	if err != nil {
		return err.Error()
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(strings.TrimSpace(text), "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return fmt.Sprintf("haproxy said %q", text)
	}
	name, sessions := slices.Index(rows[0], "svname"), slices.Index(rows[0], "scur")
	for _, row := range rows[1:] {
		if row[name] == serverName(i) && row[sessions] == "0" {
			return ""
		}
	}
	return "haproxy has sessions at " + serverName(i)
}

// tellHAProxy sends one command to the socket in dir and returns the answer.
func tellHAProxy(ctx context.Context, dir, command string) (string, error) {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", filepath.Join(dir, "sock"))
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(appears))
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	if answer := strings.TrimSpace(string(text)); strings.HasPrefix(command, "set ") && answer != "" {
		return "", fmt.Errorf("%s: %s", command, answer)
	}
	return string(text), nil
}
