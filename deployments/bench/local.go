package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// forkExec is the floor: no isolation at all.
func (b *bench) forkExec(context.Context) ([]way, error) {
	return []way{{name: forkExecName, settle: 10 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
		return b.command(ctx, nil, b.program)
	}}}, nil
}

// runc is the runtime below Hermes, alone.
func (b *bench) runc(ctx context.Context) ([]way, error) {
	return b.oci(ctx, "runc run", b.ownRunc())
}

// ownRunc is the runc that hermesd uses, or the machine's.
func (b *bench) ownRunc() string {
	runtime, err := filepath.Abs(filepath.Join(b.bin, "libexec", "runc"))
	if libexec := os.Getenv("HERMES_LIBEXEC"); libexec != "" {
		runtime = filepath.Join(libexec, "runc")
	}
	if err != nil || need(runtime) != nil {
		return "runc"
	}
	return runtime
}

func (b *bench) crun(ctx context.Context) ([]way, error) { return b.oci(ctx, "crun run", "crun") }

// oci runs the probe as a bundle of its own, with what the runtime's own `spec` suggests.
func (b *bench) oci(ctx context.Context, name, runtime string) ([]way, error) {
	if err := need(runtime); err != nil {
		return nil, err
	}
	bundle := b.path(filepath.Base(runtime))
	if err := b.rootfs(filepath.Join(bundle, "rootfs")); err != nil {
		return nil, err
	}
	spec := exec.CommandContext(ctx, runtime, "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s spec: %w: %s", runtime, err, lastLine(out))
	}
	if err := editSpec(filepath.Join(bundle, "config.json"), b.group()+"/"+filepath.Base(runtime)); err != nil {
		return nil, err
	}
	n := 0
	return []way{{name: name, settle: 50 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
		n++
		id := fmt.Sprintf("%s-%d", filepath.Base(b.dir), n)
		return b.command(ctx, nil, runtime, "--root", bundle+"-state", "run", "--bundle", bundle, id)
	}}}, nil
}

// group is the cgroup below which everything that can be told so is.
func (b *bench) group() string { return "/hermes-bench-" + filepath.Base(b.dir) }

// rootfs makes a root filesystem that holds the probe and mount points.
func (b *bench) rootfs(dir string) error {
	for _, folder := range []string{"proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(b.program)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "probe"), program, 0o755)
}

// editSpec makes a suggested config.json run the probe without a terminal.
func editSpec(file, group string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	process, isProcess := spec["process"].(map[string]any)
	linux, isLinux := spec["linux"].(map[string]any)
	if !isProcess || !isLinux {
		return fmt.Errorf("%s: has no process or no linux", file)
	}
	process["args"], process["terminal"] = []string{"/probe"}, false
	linux["cgroupsPath"] = group
	if raw, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

// removeGroup takes away the empty cgroups that the runtimes leave.
func (b *bench) removeGroup() error {
	found, err := filepath.Glob("/sys/fs/cgroup/*" + b.group())
	if err != nil {
		return err
	}
	for _, top := range append(found, "/sys/fs/cgroup"+b.group()) {
		var folders []string
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		for _, folder := range slices.Backward(folders) {
			if err := os.Remove(folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// bubblewrap has namespaces, but no cgroup and no seccomp filter.
func (b *bench) bubblewrap(context.Context) ([]way, error) {
	if err := need("bwrap"); err != nil {
		return nil, err
	}
	root := b.path("bwrap")
	if err := b.rootfs(root); err != nil {
		return nil, err
	}
	return []way{{name: "bubblewrap", settle: 20 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
		return b.command(ctx, nil, "bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "/probe")
	}}}, nil
}

// podman has its storage and its state in the folder, too, and Hermes' runc below it.
func (b *bench) podman(ctx context.Context) ([]way, error) {
	if err := need("podman"); err != nil {
		return nil, err
	}
	dir := b.path("podman")
	if err := b.rootfs(filepath.Join(dir, "rootfs")); err != nil {
		return nil, err
	}
	tar := filepath.Join(dir, "rootfs.tar")
	if err := must(ctx, "tar", "-C", filepath.Join(dir, "rootfs"), "-cf", tar, "."); err != nil {
		return nil, err
	}
	common := []string{
		"--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", b.ownRunc(),
	}
	// The one folder that podman cannot be told to have elsewhere.
	if _, err := os.Stat("/var/lib/containers"); os.IsNotExist(err) {
		b.later(func() error { return os.RemoveAll("/var/lib/containers") })
	}
	b.later(func() error {
		// Also unmounts its storage.
		return must(context.Background(), "podman", append(common, "system", "reset", "--force")...)
	})
	if err := must(ctx, "podman", append(common, "import", tar, "hermes-bench")...); err != nil {
		return nil, err
	}
	args := append(common, "run", "--rm", "--network", "none", "--log-driver", "none", "--cgroup-parent", b.group()+"/podman",
		// Its own defaults are above what root may set on some machines.
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "hermes-bench", "/probe")
	return []way{{name: podmanName, settle: 200 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
		return b.command(ctx, os.Environ(), "podman", args...)
	}}}, nil
}
