package containerd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// marker is what a secret begins with; attack.h has it too.
const marker = "hermes-escape-secret"

// arms are the programs of the suite, and a socket that still listens.
type arms struct {
	dir, attacker, socket string
}

// build compiles the attacker and the weakened inits.
func buildArms(t *testing.T) arms {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		if os.Getenv(requiredEnv) != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	a := arms{dir: newDir(t)}
	a.attacker = filepath.Join(a.dir, "attacker")
	sources, err := filepath.Glob("testdata/attacker/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatal("no attacker: ", err)
	}
	// The marker is at the same address in all of them.
	compile := func(args ...string) {
		if text, err := exec.Command(gcc, append([]string{"-static", "-no-pie", "-O1", "-Wall", "-Wextra", "-Werror"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("gcc %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	compile(append(sources, "-o", a.attacker)...)
	for _, weak := range [][]string{{"-DANY_PID"}, {"-DDUMPABLE"}, {"-DANY_PID", "-DDUMPABLE"}} {
		out := a.init(slices.Contains(weak, "-DANY_PID"), slices.Contains(weak, "-DDUMPABLE"))
		compile(append(weak, "-include", "testdata/attacker/tame.h", "init/hermes-init.c", "-o", out)...)
	}
	a.socket = filepath.Join(a.dir, "socket")
	listenTo(t, "unixpacket", a.socket)
	if err := os.Chmod(a.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	return a
}

// init is a weakened init, "" for the real one.
func (a arms) init(anyPID, dumpable bool) string {
	if !anyPID && !dumpable {
		return ""
	}
	return filepath.Join(a.dir, fmt.Sprintf("init-%t-%t", anyPID, dumpable))
}

// listenTo listens until the test ends; nobody is answered.
func listenTo(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// folder is a function's, with all that a careless host could leave in one.
func (a arms) folder(t *testing.T) string {
	t.Helper()
	dir := newDir(t)
	program, err := os.ReadFile(a.attacker)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "handler"), program, 0o755),
		os.WriteFile(filepath.Join(dir, "other"), program, 0o644),
		os.WriteFile(filepath.Join(dir, "setuid"), program, 0o755),
		os.Chmod(filepath.Join(dir, "setuid"), 0o755|os.ModeSetuid),
		unix.Mknod(filepath.Join(dir, "disk"), unix.S_IFBLK|0o666, int(hostDisk(t))),
		os.Chmod(filepath.Join(dir, "disk"), 0o666),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// hostDisk is a block device that the host can open: that of /usr, where possible.
func hostDisk(t *testing.T) uint64 {
	t.Helper()
	var file unix.Stat_t
	if err := unix.Stat("/usr", &file); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(file.Dev)), unix.Minor(uint64(file.Dev)))
	names, _ := filepath.Glob("/sys/class/block/*")
	for _, name := range append([]string{own}, names...) {
		target, err := filepath.EvalSymlinks(name)
		if err != nil {
			continue
		}
		path := filepath.Join("/dev", filepath.Base(target))
		if disk, err := os.Open(path); err == nil {
			_ = disk.Close()
			if err := unix.Stat(path, &file); err == nil {
				return uint64(file.Rdev)
			}
		}
	}
	return uint64(file.Dev)
}

// tameFolders: folders of tests know neither setuid nor devices.
func tameFolders(t *testing.T) bool {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Flags&(unix.ST_NOSUID|unix.ST_NODEV) != 0
}

// bait puts everything on the host that attacks look for, and returns what they are told about it.
func (a arms) bait(t *testing.T, r *Runtime) []string {
	t.Helper()
	dir := newDir(t)
	secret, artifact, home := filepath.Join(dir, "secret"), filepath.Join(dir, "artifact"), filepath.Join(dir, "home")
	if err := errors.Join(os.WriteFile(secret, []byte(marker), 0o600), os.WriteFile(artifact, []byte(marker), 0o644), os.Mkdir(home, 0o700)); err != nil {
		t.Fatal(err)
	}
	abstract := filepath.Base(dir) + "-escape"
	listenTo(t, "unix", "@"+abstract)
	disk := hostDisk(t)
	shm, msg, queue := sharedObjects(t)
	facts := []string{
		"HOST_SECRET=" + secret, "HOST_ARTIFACT=" + artifact, "HOST_HOME=" + home,
		"HOST_ABSTRACT=" + abstract, "HOST_CONTAINERD=" + r.opts.Address,
		fmt.Sprint("HOST_PORT=", listenTo(t, "tcp", "127.0.0.1:0").Addr().(*net.TCPAddr).Port),
		fmt.Sprint("HOST_DISK_MAJOR=", unix.Major(disk)), fmt.Sprint("HOST_DISK_MINOR=", unix.Minor(disk)),
		fmt.Sprint("HOST_TAME=", bit(tameFolders(t))), fmt.Sprint("HOST_CGROUP2=", bit(r.cgroup.unified)),
		fmt.Sprint("HOST_SHM=", shm), fmt.Sprint("HOST_MSG=", msg), "HOST_MQ=" + queue,
		fmt.Sprint("HOST_VICTIM=", a.victim(t)), fmt.Sprint("HOST_NEIGHBOUR=", a.neighbour(t, r)),
	}
	for _, kind := range []string{"uts", "net", "pid"} {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		facts = append(facts, "HOST_NS_"+kind+"="+link)
	}
	return facts
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// victim is a process of the host's root, with a secret in its environment and its memory.
func (a arms) victim(t *testing.T) int {
	t.Helper()
	cmd := exec.Command(a.attacker, "victim")
	cmd.Env = []string{"SECRET=" + marker}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(stdin.Close(), cmd.Wait()) })
	return cmd.Process.Pid
}

// neighbour is a handler in a sandbox of its own; the number is its host's.
func (a arms) neighbour(t *testing.T, r *Runtime) int {
	t.Helper()
	b := create(t, r, testSpec("neighbour", sandbox.Run, a.folder(t))).(*box)
	in, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(in.Close(), input.Close(), out.Close(), output.Close()) })
	err = b.Start(context.Background(), sandbox.Command{
		Args: []string{"./handler", "neighbour"}, Env: []string{"SECRET=" + marker}, Stdin: in, Stdout: output, Stderr: output,
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatal("the neighbour says nothing: ", err)
	}
	pids := slices.DeleteFunc(r.cgroup.processes(b.container.cgroup), func(pid int) bool { return pid == b.link.pid })
	if len(pids) != 1 {
		t.Fatalf("the neighbour's processes are %v", pids)
	}
	return pids[0]
}

// sharedObjects are a shared memory, a message queue and a POSIX queue that everybody may use.
func sharedObjects(t *testing.T) (shm, msg int, queue string) {
	t.Helper()
	var random [8]byte
	_, _ = rand.Read(random[:])
	shm, msg = int(binary.NativeEndian.Uint32(random[:])>>2|1), int(binary.NativeEndian.Uint32(random[4:])>>2|1)
	memory, err := unix.SysvShmGet(shm, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o666)
	if err != nil {
		t.Fatal("shared memory: ", err)
	}
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(memory, unix.IPC_RMID, nil) })
	bytes, err := unix.SysvShmAttach(memory, 0, 0)
	if err != nil {
		t.Fatal("shared memory: ", err)
	}
	copy(bytes, marker)
	if err := unix.SysvShmDetach(bytes); err != nil {
		t.Fatal("shared memory: ", err)
	}
	id, _, code := unix.Syscall(unix.SYS_MSGGET, uintptr(msg), unix.IPC_CREAT|unix.IPC_EXCL|0o666, 0)
	if code != 0 {
		t.Fatal("message queue: ", code)
	}
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0) })
	queue = "hermes-escape-" + strconv.Itoa(msg)
	name, err := unix.BytePtrFromString(queue)
	if err != nil {
		t.Fatal(err)
	}
	umask := unix.Umask(0)
	fd, _, code := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR|unix.O_EXCL, 0o666, 0, 0, 0)
	unix.Umask(umask)
	if code != 0 {
		t.Fatal("POSIX queue: ", code)
	}
	_ = unix.Close(int(fd))
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0) })
	return shm, msg, queue
}

// hostCapabilities are all that this process could hand on.
func hostCapabilities() []string {
	names := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
		LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
		SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
		AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON
		BPF CHECKPOINT_RESTORE`)
	var have []string
	for number, name := range names {
		if held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(number), 0, 0, 0); err == nil && held == 1 {
			have = append(have, "CAP_"+name)
		}
	}
	return have
}
