package events

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// BlobWriter passes on what is written to it, and tells which blob that is.
type BlobWriter struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

// NewBlobWriter passes on to w.
func NewBlobWriter(w io.Writer) *BlobWriter { return &BlobWriter{w: w, hash: sha256.New()} }

// Write implements io.Writer.
func (b *BlobWriter) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

// SizeBytes is how much w has taken so far.
func (b *BlobWriter) SizeBytes() int64 { return b.size }

// Blob is all that w has taken so far.
func (b *BlobWriter) Blob() Blob {
	return Blob{Digest: "sha256:" + hex.EncodeToString(b.hash.Sum(nil)), SizeBytes: b.size}
}
