package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The headers of a stored event: CloudEvents 1.0 in the NATS protocol binding's names, and the
// message id by which JetStream drops a repeated publish.
const (
	HeaderID          = "ce-id"
	HeaderType        = "ce-type"
	HeaderSource      = "ce-source"
	HeaderBy          = "ce-by"
	HeaderTime        = "ce-time"
	HeaderSpecVersion = "ce-specversion"
	HeaderMsgID       = "Nats-Msg-Id"
)

// TimeFormat is the form of HeaderTime, of a time in UTC.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

const specVersion = "1.0"

// Message is an event in the form in which it is stored.
type Message struct {
	Header map[string]string
	Data   []byte
}

// Encode returns the stored form. The time is kept to the microsecond. It fails on an event
// without ID, source or data, or with a type that is not in the registry.
func Encode(e Event) (Message, error) {
	if e.Data == nil {
		return Message{}, errors.New("event has no data")
	}
	t := e.Data.Type()
	if _, known := registry[t]; !known {
		return Message{}, &UnknownTypeError{Type: t}
	}
	if e.ID == "" || e.Source == "" {
		return Message{}, fmt.Errorf("event %s has no id or no source", t)
	}
	payload, err := json.Marshal(e.Data)
	if err != nil {
		return Message{}, fmt.Errorf("encode %s: %w", t, err)
	}
	header := map[string]string{
		HeaderID:          e.ID,
		HeaderType:        string(t),
		HeaderSource:      e.Source,
		HeaderTime:        e.Time.UTC().Format(TimeFormat),
		HeaderSpecVersion: specVersion,
		HeaderMsgID:       e.ID,
	}
	if e.By != "" {
		header[HeaderBy] = e.By
	}
	return Message{Header: header, Data: payload}, nil
}

// Decode is the inverse of Encode. A type that the registry does not hold is an
// *UnknownTypeError; a payload with a field that the type does not have is refused too.
func Decode(m Message) (Event, error) { return DecodeFrom(header(m.Header), m.Data) }

type header map[string]string

func (h header) Get(key string) string { return h[key] }

// DecodeFrom is Decode of what is stored with other headers than a Message has.
func DecodeFrom(header interface{ Get(key string) string }, data []byte) (Event, error) {
	t := Type(header.Get(HeaderType))
	empty, known := registry[t]
	if !known {
		return Event{}, &UnknownTypeError{Type: t}
	}
	e := Event{ID: header.Get(HeaderID), Source: header.Get(HeaderSource), By: header.Get(HeaderBy)}
	if e.ID == "" || e.Source == "" {
		return Event{}, fmt.Errorf("event %s has no %s or no %s header", t, HeaderID, HeaderSource)
	}
	at, err := time.Parse(TimeFormat, header.Get(HeaderTime))
	if err != nil {
		return Event{}, fmt.Errorf("event %s has a bad %s header: %w", t, HeaderTime, err)
	}
	e.Time = at.UTC()
	if e.Data, err = empty(data); err != nil {
		return Event{}, fmt.Errorf("event %s: %w", t, err)
	}
	return e, nil
}

func decodeAs[T Data](raw []byte) (Data, error) {
	var data T
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return nil, errors.New("not a JSON object") // null would decode as an empty one
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&data); err != nil {
		return nil, err
	}
	if rest := raw[d.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return nil, errors.New("more than one JSON value")
	}
	return data, nil
}
