package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hermes-serverless/hermes/services/api"
)

// mapOutputs writes what the executions of a map printed into files.
type mapOutputs struct{ dir string }

// save writes one output. A file has its name when it is whole, or as whole as it gets: lost then
// says why it is not. It may be called again after an error.
func (o *mapOutputs) save(ctx context.Context, client *api.Client, end mapEnd) (lost string, err error) {
	base := filepath.Join(o.dir, end.name)
	if end.name == "" {
		base = filepath.Join(o.dir, fmt.Sprintf("%06d", end.index))
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o777); err != nil {
		return "", err
	}
	out, err := newOutputFile(base + ".stdout")
	if err != nil {
		return "", err
	}
	defer out.discard()
	errOut := &outputFile{path: base + ".stderr"} // made when something is printed there
	defer errOut.discard()
	sum := sha256.New()
	write := splitOutput(io.MultiWriter(out, sum), io.MultiWriter(errOut, sum))
	lacks, err := readOutput(ctx, client, end.exec, write)
	if err != nil {
		return "", err
	}
	e := end.exec.Output
	switch {
	case lacks.bytes > 0:
		lost = lacks.String()
	case e.Cut != "":
		lost = "its output was cut: " + e.Cut
	case e.SHA256 != "" && e.SHA256 != hex.EncodeToString(sum.Sum(nil)):
		lost = "its output is not what it printed"
	}
	return lost, errors.Join(out.keep(), errOut.keep())
}

// outputFile has its name only when it is complete.
type outputFile struct {
	path string
	tmp  *os.File
}

func newOutputFile(path string) (*outputFile, error) {
	f := &outputFile{path: path}
	return f, f.open()
}

// open begins it under a name that is left out of a map's inputs, and that the next try uses again.
func (f *outputFile) open() (err error) {
	dir, name := filepath.Split(f.path)
	f.tmp, err = os.Create(filepath.Join(dir, "."+name+".part"))
	return err
}

func (f *outputFile) Write(p []byte) (int, error) {
	if f.tmp == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	return f.tmp.Write(p)
}

// keep gives it its name. When nothing was written, what an earlier try left goes.
func (f *outputFile) keep() error {
	if f.tmp == nil {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	err := f.tmp.Close()
	if err == nil {
		err = os.Rename(f.tmp.Name(), f.path)
	}
	if err == nil {
		f.tmp = nil
	}
	return err
}

func (f *outputFile) discard() {
	if f.tmp != nil {
		_ = f.tmp.Close()
		_ = os.Remove(f.tmp.Name())
	}
}
