package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc, on every machine.
const tick = 10 * time.Millisecond

// kthreadd is the parent of the kernel's threads.
const kthreadd = 2

// spent is processor time.
type spent struct{ user, system time.Duration }

func (s spent) plus(o spent) spent { return spent{s.user + o.user, s.system + o.system} }
func (s spent) less(o spent) spent { return spent{s.user - o.user, s.system - o.system} }

// usage is what a process has spent itself, and what those have that it has waited for.
type usage struct {
	parent        int
	own, children spent
}

// used is what each part has spent until now.
func (in *instance) used() map[string]spent {
	all := map[int]usage{}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		all[pid] = parseUsage(text(folder + "/stat"))
	}
	return partsOf(all, in.pid, os.Getpid(), programOf)
}

// partsOf sums processes up by the parts that they are. What an instance's processes have waited for was
// part of its sandboxes.
func partsOf(all map[int]usage, hermesd, client int, program func(pid int) string) map[string]spent {
	parts := map[string]spent{}
	add := func(part string, s spent) { parts[part] = parts[part].plus(s) }
	for pid, u := range all {
		switch {
		case u.parent == kthreadd:
			add(kernelPart, u.own)
		case pid == client:
			add(clientPart, u.own)
		case isBelow(all, pid, hermesd):
			add(partOf(pid == hermesd, program(pid)), u.own)
			add(sandboxPart, u.children)
		}
	}
	return parts
}

func partOf(first bool, program string) string {
	switch {
	case first:
		return hermesdPart
	case program == "hermesd":
		return containerdPart
	case program == "hermes-launch":
		return launchPart
	}
	return sandboxPart
}

func isBelow(all map[int]usage, pid, top int) bool {
	for pid != 0 && pid != top {
		pid = all[pid].parent
	}
	return pid == top
}

func programOf(pid int) string {
	words := strings.Split(text("/proc/"+strconv.Itoa(pid)+"/cmdline"), "\x00")
	return filepath.Base(words[0])
}

// parseUsage reads /proc/PID/stat; it is nothing if that is not there any more.
func parseUsage(stat string) (u usage) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the name, in parentheses, may hold anything
	if len(fields) < 15 {
		return u
	}
	ticks := func(at int) time.Duration {
		n, _ := strconv.Atoi(fields[at])
		return time.Duration(n) * tick
	}
	u.parent, _ = strconv.Atoi(fields[1])
	u.own, u.children = spent{ticks(11), ticks(12)}, spent{ticks(13), ticks(14)}
	return u
}
