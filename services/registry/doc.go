// Package registry keeps what functions there are: it takes their bundles, registers and deletes
// versions, and learns from the executions' log how their builds ended.
//
// decide.go holds what it decides, without a clock, a network or a file; the rest asks and appends.
package registry
