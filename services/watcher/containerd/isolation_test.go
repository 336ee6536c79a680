package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func testSpec(id string, kind sandbox.Kind, dir string) sandbox.Spec {
	spec := sandbox.Spec{
		ID: id, Kind: kind, Base: "host", Dir: dir, WorkBytes: 16 << 20,
		Limits: sandbox.Limits{MemoryBytes: 128 << 20, CPUs: 1, PIDs: 64, TmpBytes: 16 << 20},
	}
	if kind == sandbox.Run {
		spec.Limits.ResultsBytes = 16 << 20
	}
	return spec
}

func create(t testing.TB, r *Runtime, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	box, err := r.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return box
}

// output runs a command to its end and returns what it printed, on either stream.
func output(t testing.TB, box sandbox.Sandbox, args ...string) string {
	t.Helper()
	text, _, err := run(box, args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func run(box sandbox.Sandbox, args ...string) (string, sandbox.Exit, error) {
	return runWith(box, nil, args...)
}

// runWith is run with an environment.
func runWith(box sandbox.Sandbox, env []string, args ...string) (string, sandbox.Exit, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	defer read.Close()
	err = box.Start(ctx, sandbox.Command{Args: args, Env: env, Stdin: null, Stdout: write, Stderr: write})
	_ = write.Close()
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	text, err := io.ReadAll(read)
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	exit, err := box.Wait(ctx)
	return string(text), exit, err
}

// TestIsolation asks from inside for what must not be had. It looks at one sandbox of each kind.
func TestIsolation(t *testing.T) {
	r := newRuntime(t)
	boxes := map[string]sandbox.Sandbox{
		"run":   create(t, r, testSpec("isolated-run", sandbox.Run, newDir(t))),
		"build": create(t, r, testSpec("isolated-build", sandbox.Build, "")),
	}
	for kind, box := range boxes {
		t.Run(kind, func(t *testing.T) {
			t.Run("Status", func(t *testing.T) { statusIsHarmless(t, box) })
			t.Run("Files", func(t *testing.T) { filesAreOutOfReach(t, box) })
			t.Run("Calls", func(t *testing.T) { callsAreRefused(t, box) })
			t.Run("Init", func(t *testing.T) { initIsOutOfReach(t, box) })
			t.Run("Masks", func(t *testing.T) { masksHide(t, box) })
		})
	}
	t.Run("Shared", func(t *testing.T) { nothingWritableIsShared(t, boxes["run"], boxes["build"]) })
	one := output(t, boxes["run"], "cat", "/proc/self/uid_map")
	if two := output(t, boxes["build"], "cat", "/proc/self/uid_map"); one == two {
		t.Errorf("two sandboxes have the same user ids: %q", one)
	}
}

func statusIsHarmless(t *testing.T, box sandbox.Sandbox) {
	status := output(t, box, "cat", "/proc/self/status")
	for _, line := range []string{
		"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t ",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(status, line+"\n") {
			t.Errorf("no %q in the status:\n%s", line, status)
		}
	}
	for command, want := range map[string]string{
		"ulimit -Hc; ulimit -Sc; ulimit -Hn":                       "0\n0\n1024\n",
		"cat /proc/sys/kernel/hostname":                            hostname + "\n",
		"grep -v : /proc/net/dev | wc -l; grep -c : /proc/net/dev": "2\n1\n", // loopback
		"cut -d: -f3 /proc/self/cgroup | sort -u":                  "/\n",
		"ls /sys/class/net":                                        "lo\n",
		"su -c id 2>/dev/null || echo refused":                     "refused\n",
	} {
		if got := output(t, box, "sh", "-c", command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	devices := "fd full null ptmx random results shm stderr stdin stdout tty urandom zero"
	if box.Work() != nil { // a build leaves no results
		devices = strings.Replace(devices, " results", "", 1)
	}
	if got := strings.Join(strings.Fields(output(t, box, "ls", "/dev")), " "); got != devices {
		t.Errorf("in /dev are %q, want %q", got, devices)
	}
	if mounts := output(t, box, "cat", "/proc/self/mountinfo"); !everyMountIsTame(mounts) {
		t.Errorf("a mount of the host is writable or knows setuid or devices:\n%s", mounts)
	}
}

// nothingWritableIsShared: the escapes of November 2025 from runc go through a writable mount that two
// containers share. Device files are the exception, and nobody inside owns them.
func nothingWritableIsShared(t *testing.T, one, two sandbox.Sandbox) {
	shared := writableMounts(output(t, two, "cat", "/proc/self/mountinfo"))
	for device, path := range writableMounts(output(t, one, "cat", "/proc/self/mountinfo")) {
		if other, ok := shared[device]; ok {
			t.Errorf("two sandboxes can write to one file system, at %s and %s", path, other)
		}
	}
}

// writableMounts are the mount points of writable file systems, by their device; but not the single device
// files that are bound from the host, the null device in the place of what is masked among them.
func writableMounts(mountinfo string) map[string]string {
	list := map[string]string{}
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		device := slices.Contains([]string{"/null", "/zero", "/full", "/random", "/urandom", "/tty"}, f[3])
		if !strings.HasPrefix(f[5], "ro") && !device {
			list[f[2]] = f[4]
		}
	}
	return list
}

// masksHide: what is masked is the null device or an empty folder, and not some file of another's.
func masksHide(t *testing.T, box sandbox.Sandbox) {
	for _, path := range maskedPaths() {
		script := `test -e "$0" || exit 0; test -d "$0" && exec ls -A "$0"; stat -c "%t:%T %F" "$0"`
		if got := output(t, box, "sh", "-c", script, path); got != "" && got != "1:3 character special file\n" {
			t.Errorf("%s is masked by %q", path, got)
		}
	}
}

// everyMountIsTame: what comes from a disk is read-only, without setuid and devices.
func everyMountIsTame(mountinfo string) bool {
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !strings.HasPrefix(after, "ext4 ") || fields[4] == "/" && strings.HasPrefix(fields[5], "ro") {
			continue
		}
		for _, option := range []string{"ro", "nosuid", "nodev"} {
			if !strings.Contains(","+fields[5]+",", ","+option+",") {
				return false
			}
		}
	}
	return true
}

func filesAreOutOfReach(t *testing.T, box sandbox.Sandbox) {
	for _, path := range []string{"/etc/shadow", "/root", "/home", "/var", "/run", "/work", "/boot", "/etc/ssh", "/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/pts", "/dev/mqueue"} {
		if got := output(t, box, "sh", "-c", "ls -d "+path+" 2>/dev/null"); got != "" {
			t.Errorf("%s can be seen", path)
		}
	}
	for _, path := range []string{
		"/x", "/usr/x", "/etc/x", "/etc/passwd", "/dev/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
		"/sys/kernel/mm/transparent_hugepage/enabled", initPath, initDir + "/x", "/proc/1/oom_score_adj",
	} {
		if got := output(t, box, "sh", "-c", "(echo x >>"+path+") 2>/dev/null && echo written"); got != "" {
			t.Errorf("%s can be written", path)
		}
	}
}

func callsAreRefused(t *testing.T, box sandbox.Sandbox) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers are those of amd64")
	}
	const eperm, enosys = 1, 38
	calls := map[string][2]int{
		"ptrace": {101, eperm}, "mount": {165, eperm}, "umount2": {166, eperm}, "pivot_root": {155, eperm},
		"unshare": {272, eperm}, "setns": {308, eperm}, "keyctl": {250, eperm}, "add_key": {248, eperm},
		"bpf": {321, eperm}, "userfaultfd": {323, eperm}, "perf_event_open": {298, eperm},
		"process_vm_readv": {310, eperm}, "process_vm_writev": {311, eperm}, "pidfd_getfd": {438, eperm},
		"io_uring_setup": {425, eperm}, "io_uring_enter": {426, eperm}, "open_by_handle_at": {304, eperm},
		"clone3": {435, enosys}, "init_module": {175, eperm}, "kexec_load": {246, eperm}, "reboot": {169, eperm},
		"fsopen": {430, eperm}, "move_mount": {429, eperm}, "vmsplice": {278, eperm}, "swapon": {167, eperm},
	}
	script := "use strict; my $r;"
	for name, call := range calls {
		script += fmt.Sprintf(`$! = 0; $r = syscall(%d, 0, 0, 0, 0, 0); print "%s ", ($r < 0 ? $!+0 : "allowed"), "\n";`, call[0], name)
	}
	// The socket families that reach the kernel's cryptography and the hypervisor; CLONE_NEWUSER.
	script += `for my $f (38, 40) { $! = 0; $r = syscall(41, $f, 5, 0); print "socket$f ", ($r < 0 ? $!+0 : "allowed"), "\n"; }`
	script += `$! = 0; $r = syscall(41, 16, 3, 15); print "uevents ", ($r < 0 ? $!+0 : "allowed"), "\n";`
	script += `$! = 0; $r = syscall(56, 0x10000000, 0, 0, 0, 0); print "newuser ", ($r < 0 ? $!+0 : "allowed"), "\n";`
	calls["socket38"], calls["socket40"], calls["newuser"] = [2]int{0, eperm}, [2]int{0, eperm}, [2]int{0, eperm}
	calls["uevents"] = [2]int{0, eperm}
	got := output(t, box, "perl", "-e", script)
	for name, call := range calls {
		if want := fmt.Sprintf("%s %d\n", name, call[1]); !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("want %q in:\n%s", want, got)
		}
	}
}

func initIsOutOfReach(t *testing.T, box sandbox.Sandbox) {
	for _, path := range []string{"mem", "environ", "fd", "root", "cwd", "exe", "maps", "stack", "auxv"} {
		if got := output(t, box, "sh", "-c", "(ls /proc/1/"+path+"/ || cat /proc/1/"+path+") 2>/dev/null | head -c 9"); got != "" {
			t.Errorf("/proc/1/%s can be read: %q", path, got)
		}
	}
	for signal := 1; signal <= 31; signal++ {
		output(t, box, "sh", "-c", fmt.Sprintf("kill -%d 1", signal))
	}
	connect := `use Socket; socket(S, AF_UNIX, SOCK_SEQPACKET, 0) or die; print connect(S, sockaddr_un("` + socketPath + `")) ? "connected" : "no";`
	if got := output(t, box, "perl", "-e", connect); got != "no" {
		t.Errorf("connecting to the init's socket: %q", got)
	}
	if got := output(t, box, "sh", "-c", "echo still there"); got != "still there\n" {
		t.Errorf("after signals to the init: %q", got)
	}
}
