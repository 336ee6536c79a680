package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// input is what a function will read on its stdin, ready to be sent.
type input struct {
	events.Input
	// content is the whole of a large one, from its beginning.
	content *os.File
	// scratch says that content is ours.
	scratch bool
}

// close lets go of the file and of what was put aside.
func (in *input) close() {
	switch {
	case in.scratch:
		discard(in.content)
	case in.content != nil:
		_ = in.content.Close()
	}
}

// openInput finds where the input comes from; it is nil where a person is to be asked. It fails
// before anything is sent.
func openInput(path string, streams *iostreams.Streams) (io.Reader, error) {
	if path == "" && streams.InTerminal {
		return nil, nil
	}
	if path == "" || path == "-" {
		return streams.In, nil
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, api.Errorf(api.Invalid, noSuchFile, "the input file %s does not exist", path)
	case err != nil:
		return nil, api.Errorf(api.Invalid, noSuchFile, "the input file cannot be opened: %v", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = api.Errorf(api.Invalid, notAFile, "the input %s is a folder", path).WithHint("-f takes a file")
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// promptInput asks a person for one line.
func promptInput(streams *iostreams.Streams) (io.Reader, error) {
	fmt.Fprint(streams.Err, "Input: ")
	line, err := bufio.NewReader(streams.In).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	return bytes.NewReader(line), nil
}

// readInput takes what r holds. Only when it does not fit into the request is max asked how many
// bytes the server takes.
func readInput(r io.Reader, max func() (int64, error)) (*input, error) {
	small, err := io.ReadAll(io.LimitReader(r, events.MaxInlineInputBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	if len(small) <= events.MaxInlineInputBytes {
		return &input{Input: events.Input{Inline: small}}, nil
	}
	most, err := max()
	if err != nil {
		return nil, err
	}
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return fileInput(f, info.Size(), most)
		}
	}
	return spoolInput(io.MultiReader(bytes.NewReader(small), r), most)
}

// fileInput sums up a file that can be read twice.
func fileInput(f *os.File, bytes, most int64) (*input, error) {
	if bytes > most {
		return nil, tooLarge("the input is %d bytes long; the server takes at most %d bytes (%s)", bytes, most, size(most))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	return sumInput(f, io.Discard, most, &input{content: f})
}

// spoolInput puts aside what can be read only once: its sum has to be known before it is sent.
func spoolInput(r io.Reader, most int64) (*input, error) {
	tmp, err := scratchFile("hermes-input-*")
	if err != nil {
		return nil, fmt.Errorf("put the input aside: %w", err)
	}
	in, err := sumInput(r, tmp, most, &input{content: tmp, scratch: true})
	if err != nil {
		discard(tmp)
		return nil, err
	}
	return in, nil
}

func sumInput(r io.Reader, w io.Writer, most int64, in *input) (*input, error) {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	if n > most {
		return nil, tooLarge("the input is longer than the %d bytes (%s) that the server takes; nothing was sent", most, size(most))
	}
	if _, err := in.content.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	in.Blob = &events.Blob{Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), SizeBytes: n}
	return in, nil
}

func tooLarge(format string, args ...any) error {
	return api.Errorf(api.LimitReached, inputTooLarge, format, args...).
		WithHint("compress it, or divide it among several runs; `hermes remote info` shows the limits")
}

// sendInput reads what r holds, and sends it ahead where it is large.
func (a *app) sendInput(ctx context.Context, client *api.Client, r io.Reader) (events.Input, error) {
	in, err := readInput(r, maxInput(ctx, client))
	if err != nil {
		return events.Input{}, err
	}
	defer in.close()
	if in.Blob != nil {
		err = a.upload(ctx, client, *in.Blob, in.content, "input")
	}
	return in.Input, err
}

// maxInput asks the server how large an input may be.
func maxInput(ctx context.Context, client *api.Client) func() (int64, error) {
	return func() (int64, error) {
		info, err := api.Call[api.Info](ctx, client, api.OpInfo, api.InfoRequest{})
		return info.MaxInputBytes, err
	}
}
