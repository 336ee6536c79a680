package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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
	if err := decodeStrictly(raw, &data); err != nil {
		return nil, err
	}
	return data, nil
}

// strict decodes one JSON value after another, each of which it is given whole. To make one costs as
// much as to decode a small event.
type strict struct {
	*json.Decoder
	raw bytes.Reader
}

var stricts = sync.Pool{New: func() any {
	s := &strict{}
	s.Decoder = json.NewDecoder(&s.raw)
	s.DisallowUnknownFields()
	return s
}}

// maxKept is how large a value may be so that the buffer that it took is kept, in bytes.
const maxKept = 16 << 10

// decodeStrictly decodes one object, and refuses fields that are not known and anything behind it.
func decodeStrictly(raw []byte, into any) error {
	s := stricts.Get().(*strict)
	s.raw.Reset(raw)
	began := s.InputOffset()
	if err := s.Decode(into); err != nil {
		return err // what is left in it is worth nothing
	}
	rest := raw[s.InputOffset()-began:]
	if len(rest) == 0 && len(raw) <= maxKept {
		s.raw.Reset(nil)
		stricts.Put(s)
	}
	if len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return errors.New("more than one JSON value")
	}
	return nil
}
