package containerd

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// driverFolder makes a folder of the host that stands at initDir inside: places for the init, its
// socket and the driver's files, and the links by which programs find libraries. It is made once for
// the same files, and stays: no run but the first waits until each library has been looked into.
func (r *Runtime) driverFolder(files []driverFile) (string, error) {
	var text strings.Builder
	for _, f := range files {
		fmt.Fprintln(&text, f.inside, f.host, f.info.Size(), f.info.ModTime().UnixNano())
	}
	sum := sha256.Sum256([]byte(text.String()))
	folder := filepath.Join(r.opts.StateDir, "drivers", hex.EncodeToString(sum[:8]))
	if isDir(folder) {
		return folder, nil
	}
	links, err := libraryLinks(files)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", fmt.Errorf("make a folder for the driver's files: %w", err)
	}
	made, err := os.MkdirTemp(filepath.Dir(folder), ".new-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the driver's files: %w", err)
	}
	err = fillDriverFolder(made, files, links)
	if err == nil {
		// Another sandbox may have been first, with the same.
		if err = os.Rename(made, folder); errors.Is(err, fs.ErrExist) || isDir(folder) {
			err = nil
		}
	}
	return folder, errors.Join(err, os.RemoveAll(made))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func fillDriverFolder(made string, files []driverFile, links [][2]string) error {
	errs := []error{os.Chmod(made, 0o755)}
	at := func(inside string) string { return filepath.Join(made, strings.TrimPrefix(inside, initDir)) }
	for _, folder := range []string{driverDir, driverLibraries, driverPrograms} {
		errs = append(errs, os.Mkdir(at(folder), 0o755))
	}
	errs = append(errs, emptyFile(at(initPath)), emptyFile(at(socketPath)))
	for _, f := range files {
		errs = append(errs, emptyFile(at(f.inside)))
	}
	for _, l := range links {
		errs = append(errs, os.Symlink(l[1], at(path.Join(driverLibraries, l[0]))))
	}
	return errors.Join(errs...)
}

// libraryLinks are the names besides its own by which each library is asked for: what it calls itself
// (libcuda.so.1), and that without a version (libcuda.so).
func libraryLinks(files []driverFile) ([][2]string, error) {
	taken := map[string]bool{}
	for _, f := range files {
		taken[path.Base(f.inside)] = true
	}
	var links [][2]string
	add := func(name, target string) {
		if name != "" && name == path.Base(name) && !taken[name] {
			taken[name] = true
			links = append(links, [2]string{name, target})
		}
	}
	for _, f := range files {
		if f.folder != driverLibraries {
			continue
		}
		own := path.Base(f.inside)
		called, err := calledItself(f.host)
		if err != nil {
			return nil, err
		}
		add(called, own)
		bare, _, _ := strings.Cut(own, ".so.")
		add(strings.TrimSuffix(bare, ".so")+".so", own)
	}
	slices.SortFunc(links, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return links, nil
}

// calledItself is a library's SONAME; empty if it has none, or is no such file.
func calledItself(library string) (string, error) {
	file, err := os.Open(library)
	if err != nil {
		return "", fmt.Errorf("look into a library of the driver: %w", err)
	}
	defer file.Close()
	parsed, err := elf.NewFile(file)
	if err != nil {
		return "", nil // not a library in spite of its name: it is found by its own name
	}
	names, err := parsed.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}
