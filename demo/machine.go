package demo

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

func rights() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return "unprivileged (off: other users, limits by cgroup)"
}

func kernel() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return "?"
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// machine says where the figures come from: "2 cores (AMD EPYC), 23.5 GiB".
func machine() string {
	text := fmt.Sprintf("%d cores", runtime.NumCPU())
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		text += " (" + name + ")"
	}
	var kib float64
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib); err == nil {
		text += fmt.Sprintf(", %.1f GiB", kib/(1<<20))
	}
	return text
}

// field returns what stands behind "name:" in file, or nothing.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
