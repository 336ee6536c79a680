package bundle

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/hermes-serverless/hermes/events"
)

// A listing says which files an archive holds, and stands before it in a frame that every decoder of zstd
// passes over: who wants to know the files need not have the archive, and who unpacks it sees nothing of
// the listing.
const (
	// listingMagic begins such a frame.
	listingMagic = 0x184D2A5B
	// frameHeader is the magic and the length of what follows, four bytes each.
	frameHeader = 8
	// maxListing bounds a listing as it is stored, maxListed what it says. An archive with more is not listed.
	maxListing, maxListed = 1 << 20, 16 << 20
)

// ErrNoListing: the archive has none, as those have of more files than one is made for, and old ones.
var ErrNoListing = errors.New("the archive has no listing")

// File is a regular file of an archive, as its listing has it.
type File struct {
	Name       string `json:"name"`
	SizeBytes  int64  `json:"sizeBytes"`
	Executable bool   `json:"executable,omitempty"`
	Digest     string `json:"digest"`
}

// listing makes the frame; nil where it would be too large.
func listing(files []File) ([]byte, error) {
	raw, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("list the archive: %w", err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("list the archive: %w", err)
	}
	packed := z.EncodeAll(raw, nil)
	if len(raw) > maxListed || len(packed) > maxListing {
		return nil, nil
	}
	frame := binary.LittleEndian.AppendUint32(nil, listingMagic)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(packed)))
	return append(frame, packed...), nil
}

// ReadListing reads the listing at the beginning of an archive, and nothing behind it. Whoever made it may
// not be trusted: names lead nowhere but below the archive's folder. Errors: ErrNoListing, an *Error for
// one that is broken, and those of r.
func ReadListing(r io.Reader) ([]File, error) {
	header := make([]byte, frameHeader)
	switch _, err := io.ReadFull(r, header); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, ErrNoListing
	case err != nil:
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header[4:])
	if binary.LittleEndian.Uint32(header) != listingMagic || size > maxListing {
		return nil, ErrNoListing
	}
	packed := make([]byte, size)
	if _, err := io.ReadFull(r, packed); err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxListed))
	if err != nil {
		return nil, fmt.Errorf("read the listing: %w", err)
	}
	defer z.Close()
	raw, err := z.DecodeAll(packed, nil)
	if err != nil {
		return nil, &Error{Why: "has a listing that is broken: " + err.Error(), err: err}
	}
	var files []File
	if err := json.Unmarshal(raw, &files); err != nil {
		return nil, &Error{Why: "has a listing that is broken: " + err.Error(), err: err}
	}
	if files == nil {
		return nil, wrong("", "has a listing that is none")
	}
	tally := tally{limits: DefaultLimits()}
	for _, f := range files {
		if err := tally.entry(f.Name); err != nil {
			return nil, err
		}
		if err := events.CheckDigest(f.Digest); err != nil || f.SizeBytes < 0 {
			return nil, wrong(f.Name, "is listed with a size or a digest that cannot be")
		}
	}
	return files, nil
}
