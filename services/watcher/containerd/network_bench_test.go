package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// BenchmarkNetwork says what a network costs: the start of a sandbox, its memory, and how fast bytes
// go through it, beside the machine's own way to the same server.
//
//	go test -run - -bench Network -benchtime 1x ./services/watcher/containerd
func BenchmarkNetwork(b *testing.B) {
	alone(b, "-test.run=-", "-test.bench=^BenchmarkOutbound", "-test.benchtime=20x")
}

// BenchmarkOutboundStart takes turns, so that what else the machine does meets all alike.
func BenchmarkOutboundStart(b *testing.B) {
	o := newOutside(b)
	o.in(func() error { return serveAll(b) })
	r := newNetworkRuntime(b, nil)
	dir := newDir(b)
	m := newMedians()
	connect := []string{"bash", "-c", "head -n 1 </dev/tcp/" + outside4 + "/" + port}
	for b.Loop() {
		for name, spec := range map[string]sandbox.Spec{"none": testSpec("none", sandbox.Run, dir), "outbound": outboundSpec("outbound", dir)} {
			m.start()
			box, err := r.Create(b.Context(), spec)
			check(b, err)
			m.end(name + "-create")
			output(b, box, "/bin/true")
			m.end(name + "-warm-run")
			if name == "outbound" {
				if text := output(b, box, connect...); text != answerText {
					b.Fatal(text)
				}
				m.end(name + "-connect")
			}
			m.start()
			check(b, box.Remove(b.Context()))
			m.end(name + "-remove")
		}
	}
	m.report(b)
}

// BenchmarkOutboundMemory tells what waits with a prepared sandbox, of ten.
func BenchmarkOutboundMemory(b *testing.B) {
	newOutside(b)
	r := newNetworkRuntime(b, nil)
	dir := newDir(b)
	const boxes = 10
	for i := range boxes {
		create(b, r, outboundSpec(fmt.Sprintf("memory-%d", i), dir))
	}
	for b.Loop() {
		var all int64
		for i := range boxes {
			all += proportional(b, boxOf(r, fmt.Sprintf("memory-%d", i)).container.network.PID())
		}
		b.ReportMetric(float64(all)/boxes/(1<<20), "MiB-PSS")
	}
}

// proportional is a process's memory, what it shares divided by who shares it.
func proportional(t testing.TB, pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			check(t, err)
			return kib << 10
		}
	}
	t.Fatal("no Pss in smaps_rollup")
	return 0
}

// loadBytes go through in one direction.
const loadBytes = 256 << 20

// BenchmarkOutboundThroughput moves bytes both ways, from a sandbox and from the machine itself.
func BenchmarkOutboundThroughput(b *testing.B) {
	o := newOutside(b)
	o.in(func() error { return serveLoad(b) })
	r := newNetworkRuntime(b, nil)
	spec := outboundSpec("throughput", probeDir(b))
	spec.Limits.CPUs = 2
	box := create(b, r, spec)
	m := newMedians()
	for b.Loop() {
		for _, kind := range []string{"get", "put"} {
			rate, err := load(kind)
			check(b, err)
			m.phases["machine-"+kind] = append(m.phases["machine-"+kind], rate)
			text := try(b, box, "load+"+kind)
			rate, err = time.ParseDuration(strings.TrimPrefix(text, "reached: "))
			if err != nil {
				b.Fatal(text)
			}
			m.phases["sandbox-"+kind] = append(m.phases["sandbox-"+kind], rate)
		}
	}
	m.report(b)
	b.ReportMetric(float64(proportional(b, boxOf(r, "throughput").container.network.PID()))/(1<<20), "MiB-PSS-after")
}

const loadPort = "7779"

// serveLoad sends loadBytes to who says "get", and takes as many from who says "put".
func serveLoad(t testing.TB) error {
	listener, err := net.Listen("tcp", ":"+loadPort)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				word := make([]byte, 3)
				if _, err := io.ReadFull(conn, word); err != nil {
					return
				}
				if string(word) == "get" {
					_ = send(conn)
					return
				}
				n, _ := io.Copy(io.Discard, io.LimitReader(conn, loadBytes))
				_, _ = fmt.Fprintln(conn, n)
			}()
		}
	}()
	return nil
}

func send(w io.Writer) error {
	buffer := make([]byte, 256<<10)
	for range loadBytes / len(buffer) {
		if _, err := w.Write(buffer); err != nil {
			return err
		}
	}
	return nil
}

// load is how long it takes to get or to put.
func load(kind string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(outside4, loadPort))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	if _, err := io.WriteString(conn, kind); err != nil {
		return 0, err
	}
	var n int64
	if kind == "get" {
		n, err = io.Copy(io.Discard, conn)
	} else {
		if err := send(conn); err != nil {
			return 0, err
		}
		_, err = fmt.Fscan(conn, &n)
	}
	if err == nil && n != loadBytes {
		err = errors.New("not everything arrived")
	}
	return time.Since(began), err
}
