package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/network"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// networkUser is the sandbox's id under which its hermes-network runs on the host, with the next.
// Inside the sandbox nothing has either, and nothing can get it.
const networkUser = 32768

// networkDir holds what sandboxes with a network find in /etc, and the empty folder of their
// processes.
func (r *Runtime) networkDir() string { return filepath.Join(r.opts.StateDir, "network") }

func (r *Runtime) emptyDir() string { return filepath.Join(r.networkDir(), "empty") }

// prepareNetwork makes the folder, where sandboxes may have a network.
func (r *Runtime) prepareNetwork() error {
	if !r.opts.AllowNetwork {
		return nil
	}
	for _, dir := range []string{r.networkDir(), r.emptyDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("prepare the network: %w", err)
		}
	}
	for name, text := range map[string]string{
		"resolv.conf": network.ResolvConf(), "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := writeChanged(filepath.Join(r.networkDir(), name), text); err != nil {
			return fmt.Errorf("prepare the network: %w", err)
		}
	}
	return nil
}

// reach is what a sandbox that is made now may reach.
func (r *Runtime) reach() (network.Reach, error) {
	reach := network.Reach{Refuse: network.Refused(), Allow: r.opts.AllowNetworkTo}
	conf, err := os.Open("/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) {
		return reach, nil // a machine without DNS
	}
	if err != nil {
		return reach, err
	}
	defer conf.Close()
	reach.Resolvers, err = network.ReadResolvers(conf)
	return reach, err
}

// bootWithNetwork boots a container and starts its network's process at the same time: the two need
// each other at the end only.
func (r *Runtime) bootWithNetwork(ctx context.Context, spec sandbox.Spec, c *container, isolation *specs.Spec, listener *net.UnixListener) (*link, error) {
	if spec.Network == sandbox.NoNetwork {
		return r.boot(ctx, spec, *c, isolation, listener)
	}
	var process *network.Process
	var failed error
	var starting sync.WaitGroup
	starting.Go(func() { process, failed = r.startNetwork(spec, *c) })
	l, err := r.boot(ctx, spec, *c, isolation, listener)
	starting.Wait()
	c.network = process
	if failed == nil || err != nil {
		return l, errors.Join(err, failed)
	}
	return nil, errors.Join(fmt.Errorf("start the network: %w", failed), l.conn.Close())
}

func (r *Runtime) startNetwork(spec sandbox.Spec, c container) (*network.Process, error) {
	process, err := network.StartProcess(network.ProcessOptions{
		Program: r.opts.Libexec.Network, User: c.firstID + networkUser, Empty: r.emptyDir(),
		Enter: func(attributes *syscall.SysProcAttr) (leave func(), err error) {
			return r.cgroup.enter(c.cgroup+networkSuffix, attributes, confines{
				memoryBytes: network.MemoryBytes, pids: network.PIDs, cpus: spec.Limits.CPUs,
			})
		},
	})
	if err != nil {
		return nil, errors.Join(err, r.cgroup.remove(c.cgroup+networkSuffix))
	}
	return process, nil
}

// networkSuffix marks the cgroup of a sandbox's process. It is not below the sandbox's, whose limits
// are the function's; beside it, Reap finds it like any other.
const networkSuffix = "-network"

// networkIsLost: the sandbox has a process and it has ended.
func (c container) networkIsLost() bool {
	if c.network == nil {
		return false
	}
	select {
	case <-c.network.Ended():
		return true
	default:
		return false
	}
}

// removeNetwork ends a sandbox's process and removes its cgroup.
func (r *Runtime) removeNetwork(c container) error {
	if c.network == nil {
		return nil
	}
	if err := c.network.Close(); err != nil {
		return err
	}
	return r.cgroup.remove(c.cgroup + networkSuffix)
}

// connect makes the way from the container's network namespace to its process. The init is
// connected, so its number is still its own.
func (r *Runtime) connect(ctx context.Context, c *container, l *link) error {
	reach, err := r.reach()
	if err != nil {
		return fmt.Errorf("read the machine's DNS servers: %w", err)
	}
	if r.changeReach != nil {
		r.changeReach(&reach)
	}
	var tun *os.File
	if err := inNamespaceOf(l.pid, "net", func() (err error) {
		tun, err = network.OpenDevice()
		return err
	}); err != nil {
		return fmt.Errorf("make the network device: %w", err)
	}
	defer tun.Close()
	if err := c.network.Serve(ctx, tun, reach); err != nil {
		return fmt.Errorf("serve the network: %w", err)
	}
	go r.endNetwork(c.id, c.network, l)
	return nil
}

// endNetwork ends a process with its sandbox, and tells of one that ended before it.
func (r *Runtime) endNetwork(id string, process *network.Process, l *link) {
	select {
	case <-l.gone:
	case <-process.Ended():
		if !l.isGone() {
			r.opts.Logger.Warn("a sandbox has lost its network", "container", id, "cause", process.Why())
		}
	}
	if err := process.Close(); err != nil {
		r.opts.Logger.Warn("a network's process has not ended with its sandbox", "container", id, "cause", err)
	}
}
