// Package api is what programs say to each other: the requests and replies that users send to an
// instance, the ones between watchers and the orchestrator, the client that sends them and the
// endpoints that answer them. It knows nothing of how a service decides.
//
// A user's requests go to hermes.api.<user>.<operation>. The user's permissions let them publish
// under their own name only, so the name in the subject is who asks.
package api
