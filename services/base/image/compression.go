package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxFileBytes bounds what a file becomes when it is decompressed.
const maxFileBytes = 64 << 30

// decompressed returns the file as it is, or a decompressed copy of it in the scratch folder: archives
// are read more than once.
func decompressed(ctx context.Context, file, scratch string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	r := bufio.NewReaderSize(f, 1<<20)
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	var plain io.Reader
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if plain, err = gzip.NewReader(r); err != nil {
			return "", err
		}
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return "", err
		}
		defer z.Close()
		plain = z
	case bytes.HasPrefix(head, []byte("BZh")):
		return "", fmt.Errorf("%w: it is bzip2: decompress it first", ErrCompression)
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return "", fmt.Errorf("%w: it is xz: decompress it first", ErrCompression)
	default:
		return file, nil
	}
	return copyOf(ctx, plain, scratch)
}

func copyOf(ctx context.Context, r io.Reader, scratch string) (string, error) {
	f, err := os.CreateTemp(scratch, "plain-")
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, io.LimitReader(&endingReader{ctx, r}, maxFileBytes+1))
	if err == nil && n > maxFileBytes {
		err = fmt.Errorf("it has more than %d bytes when it is decompressed", int64(maxFileBytes))
	}
	return f.Name(), errors.Join(err, f.Close())
}

// endingReader ends with the context's error.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (e *endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}
