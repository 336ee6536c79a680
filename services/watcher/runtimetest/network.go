package runtimetest

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// noNetwork: without one there is loopback, which runc sets up, and nothing beyond it: no interface,
// no route, no resolver.
func noNetwork(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), `
		ls /sys/class/net; tail -n +2 /proc/net/route; grep -v lo$ /proc/net/if_inet6; cat /etc/resolv.conf
		for to in 192.0.2.1 192.0.2.53 8.8.8.8 2606:4700::1111; do bash -c "echo >/dev/tcp/$to/53" && echo reached $to; done`)
	p.wait(t)
	wantText(t, "what there is of a network", p.stdout.String(), "lo\n")
	if got := strings.Count(p.stderr.String(), "/53: Network is unreachable"); got != 4 {
		t.Errorf("of 4 addresses %d are unreachable: %s", got, p.stderr)
	}
}

func (s suite) newOutbound(t *testing.T) sandbox.Sandbox {
	t.Helper()
	if s.opts.Outside == "" {
		t.Skip("this runtime gives no network here")
	}
	spec := specOf(sandbox.Run, functionDir(t, nil))
	spec.Network = sandbox.Outbound
	return s.create(t, spec)
}

func outboundReaches(t *testing.T, s suite) {
	box := s.newOutbound(t)
	p := shell(t, box, `bash -c "head -n 1 </dev/tcp/`+strings.Replace(s.opts.Outside, ":", "/", 1)+`"`)
	wantExit(t, p.wait(t), 0, 0)
	if p.stdout.String() == "" {
		t.Errorf("the server outside is not heard (stderr %q)", p.stderr)
	}
}

func outboundHasLoopback(t *testing.T, s suite) {
	p := shell(t, s.newOutbound(t), `bash -c "echo >/dev/tcp/127.0.0.1/9" || bash -c "echo >/dev/tcp/::1/9"`)
	p.wait(t)
	if got := strings.Count(p.stderr.String(), "/9: Connection refused"); got != 2 {
		t.Errorf("loopback is not up: %s", p.stderr)
	}
}

func buildHasNoNetwork(t *testing.T, s suite) {
	spec := specOf(sandbox.Build, "")
	spec.Network = sandbox.Outbound
	if box, err := s.runtime.Create(newContext(t), spec); err == nil {
		must(t, box.Remove(newContext(t)))
		t.Error("a build was given a network")
	}
}
