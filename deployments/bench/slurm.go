package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const slurmConfig = `ClusterName=bench
SlurmctldHost=%[2]s(127.0.0.1)
SlurmctldPort=%[3]d
SlurmdPort=%[4]d
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=%[1]s/munge.sock
CredType=cred/munge
StateSaveLocation=%[1]s/state
SlurmdSpoolDir=%[1]s/spool
SlurmctldPidFile=%[1]s/slurmctld.pid
SlurmdPidFile=%[1]s/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
NodeName=%[2]s NodeAddr=127.0.0.1 CPUs=%[5]d State=UNKNOWN
PartitionName=bench Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`

// slurm is a cluster of one node, with what its documentation suggests where it has to be said.
func (b *bench) slurm(ctx context.Context) ([]way, error) {
	if err := need("munged", "slurmctld", "slurmd", "srun", "sinfo"); err != nil {
		return nil, err
	}
	dir := b.path("slurm")
	for _, folder := range []string{dir, dir + "/state", dir + "/spool"} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return nil, err
		}
	}
	env, err := b.slurmEnv(dir)
	if err != nil {
		return nil, err
	}
	key := "dd if=/dev/urandom bs=128 count=1 2>/dev/null >" + dir + "/munge.key && chmod 600 " + dir + "/munge.key"
	if err := must(ctx, "sh", "-c", key); err != nil {
		return nil, err
	}
	if err := b.daemon(ctx, "munged", nil, "munged", "--foreground", "--force", "--key-file="+dir+"/munge.key", "--socket="+dir+"/munge.sock",
		"--pid-file="+dir+"/munged.pid", "--log-file="+dir+"/munged.log", "--seed-file="+dir+"/munge.seed"); err != nil {
		return nil, err
	}
	err = waitUntil(ctx, "munged", func() bool { _, err := os.Stat(dir + "/munge.sock"); return err == nil })
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, b.logTail("munged"))
	}
	for _, daemon := range []string{"slurmctld", "slurmd"} {
		if err := b.daemon(ctx, daemon, env, daemon, "-D"); err != nil {
			return nil, err
		}
	}
	err = waitUntil(ctx, "slurm's node", func() bool {
		sinfo := exec.CommandContext(ctx, "sinfo", "--noheader", "--format=%t")
		sinfo.Env = env
		out, err := sinfo.Output()
		return err == nil && strings.TrimSpace(string(out)) == "idle"
	})
	if err != nil {
		return nil, fmt.Errorf("%w: slurmctld: %s; slurmd: %s", err, b.logTail("slurmctld"), b.logTail("slurmd"))
	}
	return []way{{name: srunName, settle: 200 * time.Millisecond, once: func(ctx context.Context) (sample, error) {
		return b.command(ctx, env, "srun", "--quiet", "--ntasks=1", b.program)
	}}}, nil
}

// slurmEnv writes the configuration and returns the environment that names it.
func (b *bench) slurmEnv(dir string) ([]string, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	host, _, _ = strings.Cut(host, ".")
	controller, err := freePort()
	if err != nil {
		return nil, err
	}
	node, err := freePort()
	if err != nil {
		return nil, err
	}
	file := dir + "/slurm.conf"
	config := fmt.Sprintf(slurmConfig, dir, host, controller, node, cpus())
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return append(os.Environ(), "SLURM_CONF="+file), nil
}
