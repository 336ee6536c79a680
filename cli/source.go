package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// source is a function's folder, checked and packed.
type source struct {
	manifest manifest.Manifest
	blob     events.Blob
	archive  *os.File
}

func (s *source) close() { discard(s.archive) }

// scratchFile makes a file for the time of this process. Where the system allows it (not on
// Windows) its name is gone at once, so that an interrupt leaves nothing behind.
func scratchFile(pattern string) (*os.File, error) {
	f, err := os.CreateTemp("", pattern)
	if err == nil {
		_ = os.Remove(f.Name())
	}
	return f, err
}

func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// openSource finds everything that is wrong with the folder before the server is asked.
func openSource(ctx context.Context, dir string) (*source, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if err := checkMakefile(dir); err != nil {
		return nil, err
	}
	archive, err := scratchFile("hermes-bundle-*")
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	s := &source{manifest: m, archive: archive}
	s.blob, err = bundle.Pack(ctx, dir, archive)
	if err == nil {
		_, err = archive.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.close()
		return nil, packError(dir, err)
	}
	return s, nil
}

func packError(dir string, err error) error {
	var wrong *bundle.Error
	if errors.As(err, &wrong) {
		return api.Errorf(api.Invalid, api.InvalidBundle, "the folder %s cannot be packed: %v", dir, wrong).
			WithHint("a pattern in .hermesignore leaves a file out")
	}
	return fmt.Errorf("pack %s: %w", dir, err)
}

// readManifest reports every problem of the file at once.
func readManifest(dir string) (manifest.Manifest, error) {
	path := filepath.Join(dir, manifest.FileName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Manifest{}, api.Errorf(api.Invalid, api.InvalidConfig, "there is no %s in %s", manifest.FileName, dir).
			WithHint("`hermes function init` makes a function; go to its folder, or name it")
	}
	if err != nil {
		return manifest.Manifest{}, api.Errorf(api.Invalid, api.InvalidConfig, "the function's configuration cannot be read: %v", err)
	}
	m, err := manifest.Parse(raw)
	var problems *manifest.Error
	if errors.As(err, &problems) {
		count := "a problem"
		if n := len(problems.Problems); n > 1 {
			count = fmt.Sprintf("%d problems", n)
		}
		return m, api.Errorf(api.Invalid, api.InvalidConfig, "%s has %s", path, count).WithDetail(problems.Error())
	}
	return m, err
}

func checkMakefile(dir string) error {
	for _, name := range []string{"GNUmakefile", "makefile", "Makefile"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return nil
		}
	}
	return api.Errorf(api.Invalid, noMakefile, "there is no Makefile in %s", dir).
		WithHint("a function is built by `make clean` and `make`; `hermes function init` shows an example")
}
