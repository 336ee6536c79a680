package projector

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
)

// errOneHash: two keys have the same hash. The next shelf hashes otherwise.
var errOneHash = errors.New("two keys have one hash: try again")

// shelf keeps encoded values by key in a file without a name. In memory it has a few words a key, so
// that what a long log comes to fits beside everything else. It is not safe for concurrent use.
type shelf struct {
	file *os.File
	seed maphash.Seed
	// at holds, by the hash of a key, where its newest record is.
	at map[uint64]place
	// left is how many keys are not ticked off.
	left int
	// end is where the next record goes. What is not written yet is in out.
	end int64
	out *bufio.Writer
	buf []byte
}

// place is where a record begins, and what a value is compared by without reading it again.
type place struct {
	// offset is followed, in the lowest bit, by whether it is ticked off.
	offset int64
	sum    uint64
}

func (p place) begins() int64 { return p.offset >> 1 }
func (p place) ticked() bool  { return p.offset&1 == 1 }

const (
	// recordHead is the length of the key and of the value, four bytes each.
	recordHead = 8
	// recordGuess is more than most records have, so that one read gets them.
	recordGuess = 4 << 10
)

func newShelf() (*shelf, error) {
	file, err := os.CreateTemp(shelfDir(), "hermes-views-")
	if err != nil {
		return nil, fmt.Errorf("make a file for the views that are folded: %w: set TMPDIR to a folder that can be written", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &shelf{
		file: file, seed: maphash.MakeSeed(), at: map[uint64]place{}, out: bufio.NewWriterSize(file, 1<<20), buf: make([]byte, recordGuess),
	}, nil
}

// shelfDir is a folder for large files: /tmp may be in memory.
func shelfDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

func (s *shelf) close() error { return s.file.Close() }

// put takes the key's value in place of the one that it had.
func (s *shelf) put(key string, value []byte) error {
	hash := maphash.String(s.seed, key)
	if _, known := s.at[hash]; known {
		if _, err := s.get(key); err != nil { // it may be another key's
			return err
		}
	}
	var head [recordHead]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(key)))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(value)))
	for _, part := range [][]byte{head[:], []byte(key), value} {
		if _, err := s.out.Write(part); err != nil {
			return fmt.Errorf("write %s: %w: set TMPDIR to a folder with more room", s.file.Name(), err)
		}
	}
	if p, known := s.at[hash]; !known || p.ticked() {
		s.left++
	}
	s.at[hash] = place{offset: s.end << 1, sum: s.sum(key, value)}
	s.end += recordHead + int64(len(key)+len(value))
	return nil
}

// get returns the key's value, nil if it has none. It is good until the next call.
func (s *shelf) get(key string) ([]byte, error) {
	p, known := s.at[maphash.String(s.seed, key)]
	if !known {
		return nil, nil
	}
	found, value, err := s.record(p.begins())
	if err == nil && string(found) != key {
		err = fmt.Errorf("%w: %s and %s", errOneHash, key, found)
	}
	return value, err
}

// delete forgets the key.
func (s *shelf) delete(key string) error {
	if _, err := s.get(key); err != nil {
		return err
	}
	hash := maphash.String(s.seed, key)
	if p, known := s.at[hash]; known && !p.ticked() {
		s.left--
	}
	delete(s.at, hash)
	return nil
}

// sum is equal for equal keys and values. That it is for others has a chance of one in 2^64, and nobody
// can choose them so: the seed is drawn anew for each shelf.
func (s *shelf) sum(key string, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(key)
	h.WriteByte(0)
	h.Write(value)
	return h.Sum64()
}

// tick ticks the key off if this is its value, and reports whether it is.
func (s *shelf) tick(key string, value []byte) bool {
	hash := maphash.String(s.seed, key)
	p, known := s.at[hash]
	if !known || p.sum != s.sum(key, value) {
		return false
	}
	if !p.ticked() {
		p.offset |= 1
		s.at[hash] = p
		s.left--
	}
	return true
}

// unticked calls f with every key that has a value and is not ticked off. What f puts is not met.
func (s *shelf) unticked(f func(key string) error) error {
	for offset, end := int64(0), s.end; offset < end && s.left > 0; {
		key, value, err := s.record(offset)
		if err != nil {
			return err
		}
		p, known := s.at[maphash.Bytes(s.seed, key)]
		here := known && p.begins() == offset && !p.ticked()
		offset += recordHead + int64(len(key)+len(value))
		if !here {
			continue
		}
		if err := f(string(key)); err != nil {
			return err
		}
	}
	return nil
}

// each calls f with every key that has a value.
func (s *shelf) each(f func(key string)) error {
	for offset, end := int64(0), s.end; offset < end; {
		key, value, err := s.record(offset)
		if err != nil {
			return err
		}
		p, known := s.at[maphash.Bytes(s.seed, key)]
		here := known && p.begins() == offset
		offset += recordHead + int64(len(key)+len(value))
		if here {
			f(string(key))
		}
	}
	return nil
}

// record returns what begins at the offset. It is good until the next call.
func (s *shelf) record(offset int64) (key, value []byte, err error) {
	if err := s.written(offset + recordGuess); err != nil {
		return nil, nil, err
	}
	n, err := s.file.ReadAt(s.buf[:recordGuess], offset)
	if err != nil && !errors.Is(err, io.EOF) || n < recordHead {
		return nil, nil, fmt.Errorf("read %s: %w", s.file.Name(), err)
	}
	keyLength := int(binary.LittleEndian.Uint32(s.buf))
	length := recordHead + keyLength + int(binary.LittleEndian.Uint32(s.buf[4:]))
	if length > len(s.buf) {
		s.buf = append(s.buf, make([]byte, length-len(s.buf))...)
	}
	if length > n {
		if err := s.written(offset + int64(length)); err != nil {
			return nil, nil, err
		}
		if _, err := s.file.ReadAt(s.buf[:length], offset); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", s.file.Name(), err)
		}
	}
	return s.buf[recordHead : recordHead+keyLength], s.buf[recordHead+keyLength : length], nil
}

// written sees to it that what was put before the offset is in the file.
func (s *shelf) written(offset int64) error {
	if buffered := int64(s.out.Buffered()); buffered == 0 || offset <= s.end-buffered {
		return nil
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w: set TMPDIR to a folder with more room", s.file.Name(), err)
	}
	return nil
}
