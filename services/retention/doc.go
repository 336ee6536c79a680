// Package retention lets go of what has been kept for long enough: of the views of executions that have
// ended, which it puts into the archive, of their events, which the history has, and of content that nothing
// refers to.
//
// The stream of executions has no maximum age. The server would not know which executions are live
// and wait for none, it would not wait for the history, and it would let go of what was appended last
// when a machine was switched off for long.
package retention
