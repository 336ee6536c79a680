package orchestrator

import (
	"context"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
)

const basesFilter = "hermes.base.>"

// recoverBases learns which machines the images are for, and returns where the log goes on.
func (l *leader) recoverBases(ctx context.Context) (next uint64, err error) {
	next = 1
	for record, err := range l.Bases.Read(ctx, basesFilter, 0) {
		if err := l.skipUndecodable(err); err != nil {
			return 0, fmt.Errorf("read the bases' log: %w", err)
		}
		next = record.Sequence + 1
		l.learnBase(record)
	}
	return next, nil
}

func (l *leader) followBases(ctx context.Context, from uint64) error {
	for record, err := range l.Bases.Follow(ctx, basesFilter, from) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("follow the bases' log: %w", err)
		}
		l.learnBase(record)
	}
	return ctx.Err()
}

// learnBase keeps what images are removed too: what runs on one may be on its way.
func (l *leader) learnBase(record events.Record) {
	imported, ok := record.Data.(events.BaseImported)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.architectures[imported.Image.Digest] = imported.Architecture
}
