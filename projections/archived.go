package projections

import (
	"errors"
	"fmt"
)

// Archived is a message of an archive: a stream that keeps for good what is then let go of in the keys.
type Archived struct {
	Subject string
	// Sequence is the message's in the archive.
	Sequence uint64
	// At is the sequence of the log from which on the message is true.
	At   uint64
	Data []byte
}

// HeaderLogSequence is the header of an archive's message that has its At.
const HeaderLogSequence = "Hermes-Log-Sequence"

// KeyArchived holds the ArchivedMark.
const KeyArchived = "archived"

// ArchivedMark says up to where an archive was applied.
type ArchivedMark struct {
	// Sequence is that of the last message.
	Sequence uint64 `json:"sequence"`
	// Until is the highest At of all of them.
	Until uint64 `json:"until"`
}

// MismatchError: what an archive has is not what the log says, and nothing is let go of for it.
type MismatchError struct {
	// Message is where it is in the archive.
	Subject  string
	Sequence uint64
	// Have is what the archive has, Want what it should; nil is nothing.
	Have, Want []byte
	Why        string
}

// Error implements error. What the archive has, and should, is not in it: it may be large.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("message %d of the archive (%s) is not what the log says: %s", e.Sequence, e.Subject, e.Why)
}

// Letting is how a projection lets go of keys whose values an archive keeps. Its functions are pure.
type Letting struct {
	// Go applies one message of the archive, or a part of it that changes at most MaxLetGo keys; more says
	// that there is another part. After a *MismatchError nothing more follows from the message; another
	// error comes from the Tx.
	Go func(tx Tx, a Archived) (more bool, err error)
	// Reads returns keys that Go will get for a message.
	Reads func(a Archived) []string
	// Prefixes are what the keys that Go deletes begin with, each up to a dot. The first is that of values
	// that tell by Sequence how old they are.
	Prefixes []string
	// Sequence is the sequence of the log at which a value of the first prefix was written.
	Sequence func(value any) uint64
	// Forgotten is the filter of the archive's messages that may say that an owner is forgotten, and Forgets
	// whether one does: then Go deletes all that there is of the owner, and a fold has nothing of theirs from
	// the beginning.
	Forgotten string
	Forgets   func(a Archived) bool
	// Gone reports whether a key was let go of: a server that crashed may find it again.
	Gone func(tx Tx, key string, value any) (bool, error)
}

// MaxLetGo bounds the keys that one part of a message changes.
const MaxLetGo = 256

// StepArchived applies a message of the archive, or a part of it, as Letting.Go does. Behind the last part it
// sets the mark, behind a *MismatchError too.
func (p Projection) StepArchived(tx Tx, a Archived) (more bool, err error) {
	mark, _, err := Get[ArchivedMark](tx, KeyArchived)
	if err != nil || a.Sequence <= mark.Sequence {
		return false, err
	}
	more, err = p.Letting.Go(tx, a)
	if err != nil && !IsMismatch(err) || err == nil && more {
		return more, err
	}
	tx.Put(KeyArchived, mark.at(a))
	return false, err
}

// SkipArchived passes over a message of the archive: it sets the mark alone.
func (p Projection) SkipArchived(tx Tx, a Archived) error {
	mark, _, err := Get[ArchivedMark](tx, KeyArchived)
	if err == nil && a.Sequence > mark.Sequence {
		tx.Put(KeyArchived, mark.at(a))
	}
	return err
}

func (m ArchivedMark) at(a Archived) ArchivedMark {
	return ArchivedMark{Sequence: a.Sequence, Until: max(m.Until, a.At)}
}

// IsMismatch reports whether an error is a *MismatchError.
func IsMismatch(err error) bool {
	var mismatch *MismatchError
	return errors.As(err, &mismatch)
}
