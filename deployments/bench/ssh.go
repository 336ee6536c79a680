package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// sshServer is an sshd of our own, on loopback, with keys of its own.
type sshServer struct {
	bench *bench
	// args name the server and the key; kept also names the connection that is kept.
	args, kept []string
}

func (b *bench) startSSH(ctx context.Context) (*sshServer, error) {
	if err := need("ssh", "ssh-keygen"); err != nil {
		return nil, err
	}
	daemon, err := exec.LookPath("sshd")
	if err != nil {
		daemon = "/usr/sbin/sshd" // not in every PATH; sshd wants an absolute path anyway
	}
	if err := need(daemon); err != nil {
		return nil, err
	}
	dir := b.path("ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for _, key := range []string{"host", "client"} {
		if err := must(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/"+key); err != nil {
			return nil, err
		}
	}
	if err := b.privilegeFolder(); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	// With a home of its own, so that nobody's .bashrc is measured.
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/client.pub\nPidFile none\n"+
		"UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxSessions 100\nMaxStartups 100\nLogLevel ERROR\nSetEnv HOME=%s\n", port, dir, dir, dir)
	if err := os.WriteFile(dir+"/sshd_config", []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := b.daemon(ctx, "sshd", nil, daemon, "-D", "-e", "-f", dir+"/sshd_config"); err != nil {
		return nil, err
	}
	s := &sshServer{bench: b, args: []string{
		"-F", "none", "-p", strconv.Itoa(port), "-i", dir + "/client", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectionAttempts=20", "root@127.0.0.1",
	}}
	s.kept = append([]string{"-S", dir + "/master"}, s.args...)
	if err := b.daemon(ctx, "ssh-master", nil, "ssh", append([]string{"-M", "-N"}, s.kept...)...); err != nil {
		return nil, err
	}
	return s, waitUntil(ctx, "the kept connection of ssh", func() bool {
		return exec.CommandContext(ctx, "ssh", append([]string{"-O", "check"}, s.kept...)...).Run() == nil
	})
}

// privilegeFolder makes the empty folder that sshd insists on.
func (b *bench) privilegeFolder() error {
	err := os.Mkdir("/run/sshd", 0o755)
	if os.IsExist(err) {
		return nil
	}
	if err == nil {
		b.later(func() error { return os.Remove("/run/sshd") })
	}
	return err
}

func (s *sshServer) ways() []way {
	return []way{
		{name: "ssh, new connection", settle: 50 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
			return s.run(ctx, s.args)
		}},
		{name: sshKeptName, settle: 20 * time.Millisecond, once: s.once},
	}
}

// once runs the probe over the kept connection.
func (s *sshServer) once(ctx context.Context) (sample, error) { return s.run(ctx, s.kept) }

func (s *sshServer) run(ctx context.Context, args []string) (sample, error) {
	return s.bench.command(ctx, os.Environ(), "ssh", append(append([]string{"-n"}, args...), s.bench.program)...)
}

// command is a command over the kept connection.
func (s *sshServer) command(ctx context.Context, stdin io.Reader, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", append(append([]string{}, s.kept...), words...)...)
	cmd.Stdin = stdin
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
