package api

import (
	"encoding/json"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Event is a stored event as users see it.
type Event struct {
	// Sequence is its position in its stream.
	Sequence uint64      `json:"sequence"`
	ID       string      `json:"id"`
	Type     events.Type `json:"type"`
	Source   string      `json:"source"`
	Time     time.Time   `json:"time"`
	// Subject is what it happened to.
	Subject string `json:"subject"`
	// Data is the payload as it is stored, but for what another user keeps to themselves.
	Data json.RawMessage `json:"data,omitempty"`
	// Undecodable says why the server cannot read what is stored; then there is no data.
	Undecodable string `json:"undecodable,omitempty"`
}

// History answers OpExecutionHistory: every event of one execution, in order.
type History struct {
	// Number is 0 if the list of executions does not know it yet.
	Number int64   `json:"number,omitempty"`
	ID     string  `json:"id"`
	Events []Event `json:"events"`
}

// Record is the event as a log yields it. It fails on an event that this program does not know.
func (e Event) Record() (events.Record, error) {
	decoded, err := events.Decode(events.Message{Data: e.Data, Header: map[string]string{
		events.HeaderID: e.ID, events.HeaderType: string(e.Type), events.HeaderSource: e.Source,
		events.HeaderTime: e.Time.UTC().Format(events.TimeFormat),
	}})
	if err != nil {
		return events.Record{}, Errorf(Internal, InternalError, "the event %d cannot be read: %v", e.Sequence, err).
			WithHint("client and server may be of different versions: compare `hermes version` with `hermes remote info`")
	}
	return events.Record{Event: decoded, Subject: e.Subject, Sequence: e.Sequence}, nil
}

// Everybody is the Owner of an EventsRequest that asks for the events of all users.
const Everybody = "*"

// EventsRequest asks for the caller's events: those of their executions and of their functions, in
// the order in which they happened.
type EventsRequest struct {
	// Owner is whose events are asked for: empty is the caller. Others', and Everybody's, are shown to
	// the operator only, each as that user sees it.
	Owner string `json:"owner,omitempty"`
	// Cursor is the one of the answer before. Without it the answer begins with Since, or, without
	// that too, behind everything that is stored.
	Cursor string    `json:"cursor,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Function picks the events of a function and of its executions: an empty owner (or "me") is the
	// caller, an empty version every one.
	Function events.FunctionRef `json:"function,omitzero"`
	// Types picks types, by their full names.
	Types []events.Type `json:"types,omitempty"`
	// Limit is 500 when 0, and at most.
	Limit int `json:"limit,omitempty"`
	// WaitMillis is how long to wait for an event when none is stored behind the cursor.
	WaitMillis int64 `json:"waitMillis,omitempty"`
}

// Events is a page of events.
type Events struct {
	Events []ListedEvent `json:"events"`
	// Cursor is where to go on, also when there are none.
	Cursor string `json:"cursor"`
	// More: behind the cursor there are stored ones that have not been looked at.
	More bool `json:"more,omitempty"`
}

// ListedEvent is an event among those of other things, and so with the names of what it happened to.
type ListedEvent struct {
	Event
	// Number is that of the execution, 0 for an event of a function.
	Number   int64              `json:"number,omitempty"`
	Function events.FunctionRef `json:"function"`
}
