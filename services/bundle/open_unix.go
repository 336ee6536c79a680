//go:build unix

package bundle

import "syscall"

// openNonblock keeps the opening of a pipe, which may have taken a file's place, from hanging.
const openNonblock = syscall.O_NONBLOCK
