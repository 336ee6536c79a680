package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/hermes-serverless/hermes/services/base"
)

// ErrNoBuilder: mmdebstrap is not on this machine.
var ErrNoBuilder = errors.New("mmdebstrap is not installed: apt-get install mmdebstrap")

// Debian is a root filesystem of Debian packages, as mmdebstrap makes one.
type Debian struct {
	Suite    string
	Packages []string
	// Log takes what mmdebstrap says while it works; nothing does when nil.
	Log io.Writer
}

// Debian's names: they become arguments of a program that runs as root.
var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?$`)
	suiteName   = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
)

// Check says what keeps it from being built: a name that is none, ErrNoBuilder.
func (d Debian) Check() error {
	if !suiteName.MatchString(d.Suite) {
		return fmt.Errorf("suite %q: must be a name like bookworm", d.Suite)
	}
	for _, p := range d.Packages {
		if !packageName.MatchString(p) {
			return fmt.Errorf("package %q: must be a Debian package's name, like g++", p)
		}
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return ErrNoBuilder
	}
	return nil
}

// Build lays it into an empty folder.
func (d Debian) Build(ctx context.Context, architecture string, into *os.Root) (base.Manifest, error) {
	if err := d.Check(); err != nil {
		return base.Manifest{}, err
	}
	args := []string{"--variant=minbase", "--format=tar", "--architectures=" + debianArchitecture(architecture)}
	if len(d.Packages) > 0 {
		args = append(args, "--include="+strings.Join(d.Packages, ","))
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, d.Suite, "-")...)
	said := &lastLines{w: d.Log}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return base.Manifest{}, err
	}
	if err := cmd.Start(); err != nil {
		return base.Manifest{}, fmt.Errorf("start mmdebstrap: %w", err)
	}
	m, err := Whole(ctx, out, architecture, into)
	// What it has not been able to write yet must not keep it from ending.
	_, _ = io.Copy(io.Discard, out)
	if ended := cmd.Wait(); ended != nil {
		return base.Manifest{}, fmt.Errorf("mmdebstrap: %w: %s", ended, said)
	}
	return m, err
}

// debianArchitecture is Debian's word for an architecture of Go's, where they differ.
func debianArchitecture(architecture string) string {
	switch architecture {
	case "386":
		return "i386"
	case "ppc64le":
		return "ppc64el"
	case "arm":
		return "armhf"
	}
	return architecture
}

// lastLines passes on what it is written and keeps the end of it.
type lastLines struct {
	w    io.Writer
	last []byte
}

const keepBytes = 2048

func (l *lastLines) Write(p []byte) (int, error) {
	l.last = append(l.last, p...)
	if extra := len(l.last) - keepBytes; extra > 0 {
		l.last = append(l.last[:0], l.last[extra:]...)
	}
	if l.w != nil {
		return l.w.Write(p)
	}
	return len(p), nil
}

func (l *lastLines) String() string { return strings.TrimSpace(string(l.last)) }
