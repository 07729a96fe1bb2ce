package keeper_test

import (
	"hash/crc32"
	"os"
	"os/exec"
	"testing"

	pkgtrees "github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
)

// The layout of the state file, said here a second time: a change of it that does
// not change its version is seen.
const (
	page   = 4 << 10
	stride = page + 2*64<<10
)

// forge rewrites one page of a state file.
func forge(t *testing.T, path string, at int64, change func(body []byte) []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, page)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	size := int(b[0]) | int(b[1])<<8
	body := change(b[8 : 8+size])
	out := make([]byte, page)
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	out[0], out[1] = byte(len(body)), byte(len(body)>>8)
	out[4], out[5], out[6], out[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	copy(out[8:], body)
	if _, err := f.WriteAt(out, at); err != nil {
		t.Fatal(err)
	}
}

func forgeBoot(t *testing.T, path string) {
	t.Helper()
	forge(t, path, 0, func(body []byte) []byte {
		m, err := keeperwire.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		m.ID = "another-boot"
		return m.Append(nil)
	})
}

func forgePID(t *testing.T, path, id string, pid int, ticks bool) {
	t.Helper()
	forge(t, path, page, func(body []byte) []byte {
		r, err := keeperwire.DecodeRecord(body)
		if err != nil || r.Slot.ID != id {
			t.Fatal(err, r.Slot.ID)
		}
		r.Slot.PID, r.Slot.Ticks = int32(pid), pkgtrees.StatOf(pid).Ticks
		if !ticks { // both may have begun in one
			r.Slot.Ticks--
		}
		return r.Append(nil)
	})
}

func startStranger(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}
