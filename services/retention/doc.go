// Package retention lets go of what has been kept for long enough: of the events of executions those
// that the history has, when their executions have ended, and of content what nothing refers to.
//
// The stream of executions has no maximum age. The server would not know which executions are live
// and wait for none, it would not wait for the history, and it would let go of what was appended last
// when a machine was switched off for long.
package retention
