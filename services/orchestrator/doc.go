// Package orchestrator promises executions and keeps the promises: it accepts requests, places
// them on watchers, grants attempts, and appends exactly one end to each execution.
//
// Deciding is pure (decide.go, place.go): events and views in, an event or a refusal out. The rest
// is a shell around it. Every instance answers users; one at a time, the leader, places and
// grants. Two leaders at once do no harm: each append expects the sequence it decided on, so the
// slower one is refused by the log.
package orchestrator
