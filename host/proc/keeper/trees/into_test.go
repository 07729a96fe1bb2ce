package trees_test

import "syscall"

// into has a process begin in the cgroup that fd is.
func into(fd int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
}
