// Package events is the language of Hermes: everything that ever happens is one of the events
// below, stored on the literal subject of the one thing (function, execution, watcher, user, base, language) that
// it happened to. What happens to nothing that has a history, a login or what the operator did, is an
// audit event, on the subject of its type.
//
// An event's type is part of a durable contract. Its JSON is frozen by golden files in testdata; a
// new meaning is a new type with a new version in its name, never an edit. Decoding refuses what
// it does not know, by name, and guesses nothing.
package events
