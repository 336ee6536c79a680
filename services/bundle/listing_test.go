package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
)

func digestOf(text string) string {
	sum := events.NewBlobWriter(io.Discard)
	_, _ = io.WriteString(sum, text)
	return sum.Blob().Digest
}

// TestListing: it says what the archive behind it holds, and only that much is read of both.
func TestListing(t *testing.T) {
	dir := folder(t, map[string]string{"a/b/file": "content", "run": "#!/bin/sh", "line\nbreak": "x", "none": "", "empty/": ""})
	must(t, os.Chmod(filepath.Join(dir, "run"), 0o755))
	var archive bytes.Buffer
	kept, err := PackKept(t.Context(), rootOf(t, dir), &archive, Limits{})
	must(t, err)
	want := []File{
		{Name: "line\nbreak", SizeBytes: 1, Digest: digestOf("x")},
		{Name: "none", Digest: digestOf("")},
		{Name: "run", SizeBytes: 9, Executable: true, Digest: digestOf("#!/bin/sh")},
		{Name: "a/b/file", SizeBytes: 7, Digest: digestOf("content")},
	}
	r := io.MultiReader(bytes.NewReader(kept.Listing), iotest.ErrReader(errors.New("read on")))
	got, err := ReadListing(r)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// Behind its listing the archive is what it is without.
	var names []string
	must(t, Walk(t.Context(), io.MultiReader(bytes.NewReader(kept.Listing), &archive), Limits{}, func(e Entry, content func(io.Writer) error) error {
		if e.Folder {
			return nil
		}
		var text strings.Builder
		err := content(&text)
		names = append(names, e.Name)
		if i := len(names) - 1; want[i].Name != e.Name || want[i].Digest != digestOf(text.String()) {
			t.Errorf("%q holds %q", e.Name, text.String())
		}
		return err
	}))
	if len(names) != len(want) {
		t.Errorf("the archive holds %q", names)
	}
}

func TestNoListing(t *testing.T) {
	raw := archiveOf(t, file("a", "content"))
	for what, r := range map[string]io.Reader{
		"an archive without one": bytes.NewReader(raw), "nothing": strings.NewReader(""), "too little": strings.NewReader("abc"),
		"one that is said to be huge": bytes.NewReader(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, listingMagic), maxListing+1)),
	} {
		if files, err := ReadListing(r); !errors.Is(err, ErrNoListing) {
			t.Errorf("%s: %v, %v", what, files, err)
		}
	}
	down := errors.New("down")
	if _, err := ReadListing(iotest.ErrReader(down)); !errors.Is(err, down) {
		t.Errorf("the source's error became %v", err)
	}
}

// TestHostileListings: what a listing says is checked as what an archive says is.
func TestHostileListings(t *testing.T) {
	good := digestOf("x")
	frame := func(raw string) []byte {
		packed := compressed([]byte(raw))
		return append(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, listingMagic), uint32(len(packed))), packed...)
	}
	for what, raw := range map[string][]byte{
		"outside":      frame(fmt.Sprintf(`[{"name":"../x","sizeBytes":1,"digest":%q}]`, good)),
		"absolute":     frame(fmt.Sprintf(`[{"name":"/etc/passwd","sizeBytes":1,"digest":%q}]`, good)),
		"a zero byte":  frame(fmt.Sprintf(`[{"name":"x\u0000y","sizeBytes":1,"digest":%q}]`, good)),
		"less than 0":  frame(fmt.Sprintf(`[{"name":"x","sizeBytes":-1,"digest":%q}]`, good)),
		"no digest":    frame(`[{"name":"x","sizeBytes":1,"digest":"sha256:beef"}]`),
		"no JSON":      frame(`[{`),
		"no list":      frame(`null`),
		"not packed":   append(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, listingMagic), 3), "abc"...),
		"a bomb":       frame("[" + strings.Repeat(" ", maxListed+1) + "]"),
		"cut short":    frame(`[]`)[:10],
		"endless list": frame("[" + strings.Repeat(fmt.Sprintf(`{"name":"x","digest":%q},`, good), DefaultLimits().Files) + fmt.Sprintf(`{"name":"x","digest":%q}]`, good)),
	} {
		if files, err := ReadListing(bytes.NewReader(raw)); err == nil {
			t.Errorf("%s: %d files were read", what, len(files))
		}
	}
}

// TestListingIsBounded: what would be too long a list is left out, and the archive stays.
func TestListingIsBounded(t *testing.T) {
	files := make([]File, 60_000)
	for i := range files {
		files[i] = File{Name: fmt.Sprintf("%d/%s", i, digestOf(fmt.Sprint(i))), Digest: digestOf(fmt.Sprint(-i))}
	}
	if frame, err := listing(files); err != nil || frame != nil {
		t.Errorf("%d bytes list %d files, %v", len(frame), len(files), err)
	}
	frame, err := listing(files[:8_000])
	must(t, err)
	if got, err := ReadListing(bytes.NewReader(frame)); err != nil || len(got) != 8_000 {
		t.Errorf("%d files, %v", len(got), err)
	}
}
