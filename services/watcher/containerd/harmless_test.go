package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHarmless(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	master, slave, err := terminal()
	if err != nil {
		t.Skip(err) // no terminals on this machine
	}
	defer master.Close()
	open := func(path string) *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		f  *os.File
		ok bool
	}{{read, true}, {open(os.DevNull), true}, {open(file), true}, {open(t.TempDir()), false}, {slave, false}}
	if os.Geteuid() == 0 {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := unix.Mknod(disk, unix.S_IFBLK|0o600, int(hostDisk(t))); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Open(disk); err == nil { // some machines let nobody open one
			cases = append(cases, struct {
				f  *os.File
				ok bool
			}{f, false})
		}
	}
	for _, c := range cases {
		info, err := c.f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := harmless(c.f, info); (err == nil) != c.ok || err != nil && !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s (%s): %v", c.f.Name(), info.Mode(), err)
		}
		_ = c.f.Close()
	}
}
