package containerd

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// What cannot be put right from outside, and outlives the processes, ends the sandbox.
func TestWhatKeepsASandboxFromBeingRenewed(t *testing.T) {
	r := newRuntime(t)
	spec := testSpec("renewed", sandbox.Run, newDir(t))
	spec.Renewable = true
	commands := map[string]string{
		"shared memory": "ipcmk -M 4096", "semaphores": "ipcmk -S 1", "a queue": "ipcmk -Q", "shared memory of mode 0": "ipcmk -p 0 -M 4096",
		"a limit": "prlimit --pid 1 --fsize=0:0", "a soft limit": "prlimit --pid 1 --nofile=100:", "niceness": "renice -n 19 -p 1",
		"processors": "taskset -p 1 1", "IO priority": "ionice -c 3 -p 1", "a policy": "chrt -i -p 0 1",
		"many files": "cd /tmp && seq 1001 | xargs touch", "many names": "cd /dev/shm && mkdir d && cd d && touch f && for i in $(seq 1001); do ln f $i; done",
	}
	if runtime.GOARCH == "amd64" {
		commands["a POSIX queue"] = `perl -e '$name = "queue"; exit(syscall(240, $name, 0102, 0600, 0) < 0)'`
	}
	for what, command := range commands {
		t.Run(what, func(t *testing.T) {
			spec := spec
			spec.ID = "renewed-" + strings.ReplaceAll(what, " ", "-")
			box := create(t, r, spec)
			if text, exit, err := run(box, "sh", "-c", command); err != nil || exit.Code != 0 {
				t.Fatalf("exit %+v, %v: %s", exit, err, text)
			}
			err := box.Renew(t.Context())
			t.Log(err)
			if !errors.Is(err, errLeft) {
				t.Errorf("%v, want errLeft", err)
			}
		})
	}
}

// BenchmarkRenew is what it costs to put a sandbox right, when nothing is wrong with it.
//
//	go test -run - -bench Renew ./services/watcher/containerd
func BenchmarkRenew(b *testing.B) {
	spec := testSpec("renewed", sandbox.Run, newDir(b))
	spec.Renewable = true
	box := create(b, newRuntime(b), spec)
	for b.Loop() {
		if err := box.Renew(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
