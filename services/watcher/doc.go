// Package watcher is the agent of one machine: it takes the runs that the orchestrator has placed
// here, claims each, runs it in a sandbox, sends what it prints and reports how it ended.
//
// It decides nothing about an execution and never writes the log of events. What it promises:
// nothing of a user's runs before its claim is granted; an attempt that was granted is reported,
// however long that takes; and when its lease cannot be renewed, everything that runs here has
// been killed before the lease is over.
package watcher
