package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// host is the machine and what is measured on it.
type host struct {
	machine string
	commit  string
	peers   []string
}

// packages are the peers, by the names of Debian; what is not there is left out.
var packages = []string{"supervisor", "runit", "nginx", "haproxy", "wrk"}

func lookAtHost(ctx context.Context) host {
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	h := host{machine: fmt.Sprintf("%d CPUs%s, %s, Linux %s, %s/%s, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name", " (", ")"),
		memory(), chars(u.Release[:]), runtime.GOOS, runtime.GOARCH, runtime.Version())}
	for _, p := range packages {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", p).Output()
		if err == nil && len(out) > 0 {
			h.peers = append(h.peers, p+" "+string(out))
		}
	}
	out, _ := exec.CommandContext(ctx, program, "version").Output()
	first, _, _ := strings.Cut(string(out), "\n")
	h.commit = strings.Join(strings.Fields(first), " ")
	return h
}

func (h host) lines() []string {
	return []string{"machine: " + h.machine, "measured: " + h.commit, "peers: " + strings.Join(h.peers, ", ")}
}

// field returns the value of the first line "name : value" in file, between
// before and after; nothing if there is none.
func field(file, name, before, after string) string {
	text, _ := os.ReadFile(file)
	s := bufio.NewScanner(bytes.NewReader(text))
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ":")
		if strings.TrimSpace(key) == name {
			return before + strings.TrimSpace(value) + after
		}
	}
	return ""
}

func memory() string {
	var kib int
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal", "", ""), &kib)
	return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
}

// loadAverage returns the load of 1 and 5 minutes.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return "unknown"
	}
	return f[0] + " " + f[1]
}

func chars(b []int8) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}
