// Package output carries what a command prints from its pipes to the stream of outputs: at once
// when little is printed, gathered when much is, complete and in order whatever the connection does.
//
// What stands on an output subject: chunks whose offsets grow without a gap, then one end message.
// After a disturbance chunks may stand there twice, or one ahead of its predecessor and then again
// behind it. A reader that takes a chunk only when its offset is the one that it expects reads
// every byte, once, in order.
package output
