package log

import (
	"fmt"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// Decode turns a stored message into what Read and Follow yield for it. It is for
// implementations of Log: all of them must say the same of the same bytes.
func Decode(subject string, sequence uint64, m events.Message) (events.Record, error) {
	event, err := events.Decode(m)
	record := events.Record{Event: event, Subject: subject, Sequence: sequence}
	if err != nil {
		return record, &UndecodableError{Subject: subject, Sequence: sequence, Message: m, Err: err}
	}
	return record, nil
}

// CheckLiteral returns an error unless the subject can be appended to: no empty token, wildcard
// or space.
func CheckLiteral(subject string) error {
	if strings.ContainsAny(subject, "*> \t\r\n") {
		return fmt.Errorf("subject %q is not literal", subject)
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" {
			return fmt.Errorf("subject %q has an empty token", subject)
		}
	}
	return nil
}
