package fake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// resolve finds the host's file for Args[0]: FunctionDir stands for cwd, a relative path counts
// from cwd, a bare name is searched in the PATH of the command's own environment.
func resolve(cwd string, cmd sandbox.Command) (string, error) {
	name := cmd.Args[0]
	if strings.Contains(name, "/") {
		return executable(hostPath(cwd, name))
	}
	var refused error
	for dir := range strings.SplitSeq(cmd.Path(), ":") {
		path, err := executable(hostPath(cwd, filepath.Join(dir, name)))
		if err == nil {
			return path, nil
		}
		if errors.Is(err, sandbox.ErrNotExecutable) {
			refused = err
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", sandbox.ErrNotFound
}

func hostPath(cwd, path string) string {
	if rest, ok := strings.CutPrefix(path, sandbox.FunctionDir+"/"); ok {
		return filepath.Join(cwd, rest)
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(cwd, path)
}

func executable(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", sandbox.ErrNotFound
	case err != nil:
		return "", fmt.Errorf("%w: %w", sandbox.ErrNotFound, err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%w: %s is no regular file", sandbox.ErrNotExecutable, path)
	case info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("%w: %s has no execute permission", sandbox.ErrNotExecutable, path)
	}
	return path, nil
}
