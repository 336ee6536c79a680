package cli

import (
	"context"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// barAfter is how long an upload may take before its progress is shown.
const barAfter = time.Second

// upload sends content, with a progress bar for a person who would have to wait.
func (a *app) upload(ctx context.Context, client *api.Client, blob events.Blob, r io.Reader, what string) error {
	bar := &lazyBar{app: a, total: blob.SizeBytes, what: what, start: a.now()}
	defer bar.finish()
	// No deadline for the whole: each part has its own.
	return client.Upload(ctx, blob, r, bar.set)
}

type lazyBar struct {
	app   *app
	total int64
	what  string
	start time.Time
	// counts: total is a number of things, not of bytes.
	counts bool
	bar    *progressbar.ProgressBar
}

func (b *lazyBar) set(done int64) {
	if b.bar == nil {
		if !b.app.streams.ErrTerminal || b.app.now().Sub(b.start) < barAfter {
			return
		}
		unit := progressbar.OptionShowBytes(true)
		if b.counts {
			unit = progressbar.OptionShowCount()
		}
		b.bar = progressbar.NewOptions64(b.total,
			progressbar.OptionSetWriter(b.app.streams.Err),
			progressbar.OptionSetDescription(b.what),
			unit,
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth(),
		)
	}
	_ = b.bar.Set64(done)
}

func (b *lazyBar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
