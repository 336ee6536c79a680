// Package accounts makes users, keeps their keys and lets them in: decide.go says what may happen to a
// user, service.go and its neighbours answer requests, callout.go answers the NATS server when
// somebody connects, and live.go ends connections whose key is worth nothing any more.
//
// Two things are never in an event, for events stay for ever: a password, even hashed, and an
// invitation's token. They are in a bucket of secrets, where removing a user removes them.
package accounts
