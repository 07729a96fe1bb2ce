package proc

import (
	"fmt"
	"syscall"
)

// Exec makes this process be the program at path. It returns only when that
// cannot be done.
func Exec(path string, argv, env []string) error {
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	return nil
}
