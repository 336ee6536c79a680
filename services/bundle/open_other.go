//go:build !unix

package bundle

// openNonblock is for systems with pipes in their file system.
const openNonblock = 0
