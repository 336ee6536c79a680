package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/network"
	"github.com/hermes-serverless/hermes/services/watcher/runtimetest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// probeTimeout is how long an attack waits for an answer that may not come.
const probeTimeout = 2 * time.Second

func TestNetwork(t *testing.T) { alone(t, "-test.run=^TestOutbound") }

// needAlone skips a test that TestNetwork runs.
func needAlone(t testing.TB) {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Skip("TestNetwork runs this, in a network namespace of its own")
	}
}

// newNetworkRuntime is a runtime that gives its sandboxes a network.
func newNetworkRuntime(t testing.TB, change func(*Options)) *Runtime {
	t.Helper()
	return newRuntimeWith(t, newDir(t), func(o *Options) {
		o.AllowNetwork = true
		if change != nil {
			change(o)
		}
	})
}

// probeDir is a function's folder with this binary in it.
func probeDir(t testing.TB) string {
	t.Helper()
	dir := newDir(t)
	from, err := os.Open("/proc/self/exe")
	check(t, err)
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY, 0o755)
	check(t, err)
	_, err = io.Copy(to, from)
	check(t, errors.Join(err, to.Close()))
	return dir
}

func outboundSpec(id, dir string) sandbox.Spec {
	spec := testSpec(id, sandbox.Run, dir)
	spec.Limits.MemoryBytes = 256 << 20
	spec.Network = sandbox.Outbound
	return spec
}

// try is what a function says that tries something.
func try(t testing.TB, box sandbox.Sandbox, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	null, err := os.Open(os.DevNull)
	check(t, err)
	defer null.Close()
	read, write, err := os.Pipe()
	check(t, err)
	defer read.Close()
	err = box.Start(ctx, sandbox.Command{
		Args: []string{"./probe"}, Env: []string{probeEnv + "=" + what}, Stdin: null, Stdout: write, Stderr: write,
	})
	_ = write.Close()
	check(t, err)
	text, err := io.ReadAll(read)
	check(t, err)
	_, err = box.Wait(ctx)
	check(t, err)
	return strings.TrimSpace(string(text))
}

// attack is something that must not be reached.
type attack struct {
	name, what string
	// closed: nothing that Hermes decides keeps it out of reach, so nothing can be taken away to
	// see that it is there.
	closed bool
}

// forbidden are addresses of the outside that a function must not reach, of every kind there is.
var forbidden = []string{
	"10.66.0.2", "172.16.0.2", "172.31.255.2", "192.168.66.2", "100.64.0.2", "100.100.100.200",
	"169.254.169.254", "168.63.129.16", "192.0.0.192", "198.18.0.2", "fd00:ec2::254", "fd12:3456::2",
}

func attacks() []attack {
	at := func(a string) string { return net.JoinHostPort(a, port) }
	var list []attack
	for _, a := range forbidden {
		list = append(list,
			attack{name: "tcp to " + a, what: "tcp " + at(a)},
			attack{name: "udp to " + a, what: "udp " + at(a)})
	}
	for name, a := range map[string]string{"IPv4": machine4, "IPv6": machine6, "added later": "203.0.113.77", "by a rule": "203.0.113.201"} {
		list = append(list,
			attack{name: "tcp to the machine itself, " + name, what: "tcp " + at(a)},
			attack{name: "udp to the machine itself, " + name, what: "udp " + at(a)})
	}
	return append(list,
		attack{name: "a private address, bound to the device", what: "tcp+device " + at("10.66.0.2")},
		attack{name: "a private address, by IP_PKTINFO", what: "udp+pktinfo " + at("10.66.0.2")},
		attack{name: "the machine, bound to the device", what: "tcp+device " + at(machine4)},
		attack{name: "a private address in IPv6", what: "tcp " + at("::ffff:10.66.0.2")},
		attack{name: "the machine's loopback", what: "tcp " + at("127.0.0.1"), closed: true},
		attack{name: "the machine's loopback, bound to the device", what: "tcp+device " + at("127.0.0.1"), closed: true},
		attack{name: "the machine's loopback, by IP_PKTINFO", what: "udp+pktinfo " + at("127.0.0.1"), closed: true},
		attack{name: "the machine's loopback in IPv6", what: "tcp " + at("::1"), closed: true},
		attack{name: "the machine's loopback in IPv6, bound to the device", what: "tcp+device " + at("::1"), closed: true},
		attack{name: "IPv4's loopback in IPv6", what: "tcp " + at("::ffff:127.0.0.1"), closed: true},
		attack{name: "0.0.0.0", what: "tcp " + at("0.0.0.0"), closed: true},
		attack{name: "::", what: "tcp " + at("::"), closed: true},
		attack{name: "0.0.0.0, bound to the device", what: "tcp+device " + at("0.0.0.0"), closed: true},
		attack{name: "everybody", what: "udp " + at("255.255.255.255"), closed: true},
		attack{name: "everybody on the machine's link", what: "udp " + at("203.0.113.255"), closed: true},
		attack{name: "multicast", what: "udp " + at("224.0.0.1"), closed: true},
		attack{name: "another port of the DNS server", what: "tcp " + at(network.Nameservers()[0].String()), closed: true},
		attack{name: "another port of the DNS server, UDP", what: "udp " + at(network.Nameservers()[0].String()), closed: true},
		attack{name: "another sandbox", what: "tcp 192.0.2.2:7778", closed: true},
		attack{name: "a raw socket", what: "ip+raw", closed: true},
		attack{name: "a packet socket", what: "ip+packet", closed: true},
		attack{name: "pings", what: "ip+ping", closed: true},
	)
}

// TestOutboundReach attacks what must be out of reach, after it has seen that it is there: where
// protection can be taken away, each attack must succeed without it.
func TestOutboundReach(t *testing.T) {
	needAlone(t)
	o := newOutside(t, forbidden...)
	o.in(func() error { return serveAll(t, append(forbidden, outside4, outside6)...) })
	dir := probeDir(t)
	open := newNetworkRuntime(t, nil)
	open.changeReach = func(r *network.Reach) { *r = network.Reach{Self: true} }
	protected := newNetworkRuntime(t, nil)
	without := create(t, open, outboundSpec("open", dir))
	with := create(t, protected, outboundSpec("protected", dir))
	neighbour := create(t, protected, outboundSpec("neighbour", dir))
	listens(t, neighbour, "tcp+listen 0.0.0.0:7778")
	// The machine's addresses are not those that it had when the sandboxes were made.
	check(t, addAddress("out0", netip.MustParsePrefix("203.0.113.77/24")))
	check(t, localRoute("203.0.113.200/29"))
	check(t, serveAll(t, machine4, machine6, "203.0.113.77", "203.0.113.201", "127.0.0.1", "::1"))

	for _, a := range []string{outside4, outside6} {
		for _, kind := range []string{"tcp", "udp"} {
			if got := try(t, with, kind+" "+net.JoinHostPort(a, port)); !strings.HasPrefix(got, "reached: here I am") {
				t.Errorf("%s to a public address: %s", kind, got)
			}
		}
	}
	tried, contained := 0, 0
	for _, a := range attacks() {
		if !a.closed {
			if got := try(t, without, a.what); !strings.HasPrefix(got, "reached: here I am") {
				t.Errorf("%s: even without protection it says %q, so this proves nothing", a.name, got)
			}
		}
		tried++
		if got := try(t, with, a.what); strings.HasPrefix(got, "refused: ") {
			contained++
		} else {
			t.Errorf("%s: %s", a.name, got)
		}
	}
	Report(t, fmt.Sprintf("network attacks: tried %d, contained %d", tried, contained))
	if text := try(t, with, "tcp "+net.JoinHostPort(outside4, port)); !strings.HasPrefix(text, "reached: here I am") {
		t.Errorf("after the attacks, a public address: %s", text)
	}
}

// listens starts something in a sandbox and returns when it listens.
func listens(t *testing.T, box sandbox.Sandbox, what string) *bufio.Reader {
	t.Helper()
	null, err := os.Open(os.DevNull)
	check(t, err)
	defer null.Close()
	read, write, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { _ = read.Close() })
	err = box.Start(t.Context(), sandbox.Command{
		Args: []string{"./probe"}, Env: []string{probeEnv + "=" + what}, Stdin: null, Stdout: write, Stderr: write,
	})
	_ = write.Close()
	check(t, err)
	lines := bufio.NewReader(read)
	if line, err := lines.ReadString('\n'); line != "listening\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return lines
}

// TestOutboundLetsNobodyIn: what listens in a sandbox is not there for anybody.
func TestOutboundLetsNobodyIn(t *testing.T) {
	needAlone(t)
	o := newOutside(t)
	box := create(t, newNetworkRuntime(t, nil), outboundSpec("listens", probeDir(t)))
	lines := listens(t, box, "tcp+listen 0.0.0.0:"+port)
	o.in(func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(machine4, port), probeTimeout)
		if err == nil {
			return errors.Join(errors.New("the machine's port leads into the sandbox"), conn.Close())
		}
		return nil
	})
	if conn, err := net.DialTimeout("tcp", "192.0.2.2:"+port, probeTimeout); err == nil {
		_ = conn.Close()
		t.Error("the sandbox's own address can be reached from the machine")
	}
	if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, "refused: ") {
		t.Errorf("%q, %v", line, err)
	}
}

// TestOutboundAllowed: the operator may open networks, and not the machine itself.
func TestOutboundAllowed(t *testing.T) {
	needAlone(t)
	o := newOutside(t, "10.66.0.2", "10.67.0.2")
	o.in(func() error { return serveAll(t) })
	check(t, serveAll(t))
	check(t, addAddress("out0", hostPrefix("10.66.0.1")))
	box := create(t, newNetworkRuntime(t, func(o *Options) {
		o.AllowNetworkTo = []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	}), outboundSpec("allowed", probeDir(t)))
	for address, want := range map[string]string{
		"10.66.0.2": "reached", outside4: "reached", "10.67.0.2": "refused", "10.66.0.1": "refused", machine4: "refused", "127.0.0.1": "refused",
	} {
		if got := try(t, box, "tcp "+net.JoinHostPort(address, port)); !strings.HasPrefix(got, want+": ") {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestOutboundNames asks the machine's DNS server, which is where nothing else can be reached.
func TestOutboundNames(t *testing.T) {
	needAlone(t)
	check(t, up("lo"))
	serveNames(t, "127.0.0.1:53")
	r := newNetworkRuntime(t, nil)
	r.changeReach = func(reach *network.Reach) { reach.Resolvers = []netip.Addr{netip.MustParseAddr("127.0.0.1")} }
	box := create(t, r, outboundSpec("names", probeDir(t)))
	if got := try(t, box, "ip+name hermes.example"); got != "reached: "+outside4 {
		t.Errorf("the Go resolver: %s", got)
	}
	if got := output(t, box, "getent", "ahostsv4", "hermes.example"); !strings.HasPrefix(got, outside4+" ") {
		t.Errorf("the C library: %q", got)
	}
	if got := try(t, box, "udp 127.0.0.1:53"); !strings.HasPrefix(got, "refused") {
		t.Errorf("the DNS server past its own address: %s", got)
	}
}

// TestOutboundEnds: whatever ends a sandbox ends its process, and nothing of it is left.
func TestOutboundEnds(t *testing.T) {
	needAlone(t)
	r := newNetworkRuntime(t, nil)
	box, err := r.Create(t.Context(), outboundSpec("removed", newDir(t)))
	check(t, err)
	pid := processOf(t, r, "removed")
	check(t, r.Reap(t.Context()))
	if gone(pid) || !box.Alive() {
		t.Error("Reap took what this process has made")
	}
	check(t, box.Remove(t.Context()))
	if !gone(pid) {
		t.Error("the process outlived Remove")
	}
	if left := present(t, r); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	box = create(t, r, outboundSpec("killed", newDir(t)))
	pid = processOf(t, r, "killed")
	check(t, r.cgroup.killAll(boxOf(r, "killed").container.cgroup, killPatience))
	eventually(t, "the process outlived its container", func() bool { return gone(pid) })
	if box.Alive() {
		t.Error("a sandbox without an init is said to be alive")
	}

	box = create(t, r, outboundSpec("lost", newDir(t)))
	process, err := os.FindProcess(processOf(t, r, "lost"))
	check(t, errors.Join(err, process.Kill()))
	eventually(t, "a sandbox that lost its network is said to be alive", func() bool { return !box.Alive() })
}

// TestOutboundEndsWithHermesd kills a watcher as the machine would.
func TestOutboundEndsWithHermesd(t *testing.T) {
	needAlone(t)
	address, err := shared.address()
	check(t, err)
	state := newDir(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), leaveNetworkEnv+"="+newDir(t), addressEnv+"="+address, stateEnv+"="+state)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	check(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the process to kill says %q", line)
	}
	eventually(t, "the network's process outlived hermesd", func() bool { return gone(pid) })
	r := newRuntimeIn(t, state)
	if len(present(t, r)) == 0 {
		t.Error("nothing was left behind, so this proves nothing")
	}
	check(t, r.Reap(t.Context()))
	if left := present(t, r); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// leaveNetworkEnv makes the test binary a watcher with one sandbox with a network, of this folder,
// that is about to be killed.
const leaveNetworkEnv = "HERMES_TEST_LEAVE_NETWORK"

func leaveNetwork(dir string) {
	r, err := leavingRuntime()
	if err != nil {
		exit(err)
	}
	if _, err := r.Create(context.Background(), outboundSpec("left", dir)); err != nil {
		exit(err)
	}
	fmt.Println(boxOf(r.(*Runtime), "left").container.network.PID())
	select {}
}

func boxOf(r *Runtime, id string) *box {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boxes[id]
}

// processOf is the process of a sandbox's network, which must run as it should.
func processOf(t *testing.T, r *Runtime, id string) int {
	t.Helper()
	b := boxOf(r, id)
	pid := b.container.network.PID()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	user := b.container.firstID + networkUser + 1
	for _, line := range []string{
		fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d", user, user, user, user), fmt.Sprintf("Gid:\t%d\t%d\t%d\t%d", user, user, user, user), "Groups:\t ",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1",
	} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("no %q in the status of the network's process:\n%s", line, status)
		}
	}
	if root, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/", pid)); err != nil || len(root) > 0 {
		t.Errorf("the network's process sees %v, %v", root, err)
	}
	if pids := r.cgroup.processes(b.container.cgroup + networkSuffix); len(pids) != 1 || pids[0] != pid {
		t.Errorf("in the cgroup of the network's process %d is %v", pid, pids)
	}
	return pid
}

// gone: a process ended; who waits for it is not ours to say.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(otherwise)
		}
	}
}

// TestNoNetworkUnlessAllowed: it is the runtime that refuses, whatever its caller forgot.
// TestNetworkThatDoesNotStart leaves nothing behind.
func TestNetworkThatDoesNotStart(t *testing.T) {
	program := filepath.Join(newDir(t), NetworkName)
	check(t, os.WriteFile(program, []byte("no program"), 0o755))
	r := newNetworkRuntime(t, func(o *Options) { o.Libexec.Network = program })
	if box, err := r.Create(t.Context(), outboundSpec("stuck", newDir(t))); err == nil {
		t.Error("a sandbox was made without its network")
		check(t, box.Remove(t.Context()))
	}
	if left := present(t, r); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoNetworkUnlessAllowed(t *testing.T) {
	r := newRuntime(t)
	if _, err := r.Create(t.Context(), outboundSpec("refused", newDir(t))); !errors.Is(err, sandbox.ErrNetwork) {
		t.Errorf("%v, want ErrNetwork", err)
	}
}

func TestOutboundConformance(t *testing.T) {
	needAlone(t)
	o := newOutside(t)
	o.in(func() error { return serveAll(t) })
	runtimetest.Run(t, func(t *testing.T) sandbox.Runtime { return newNetworkRuntime(t, nil) },
		runtimetest.Options{Isolated: true, Outside: net.JoinHostPort(outside4, port), Only: "Network"})
}
