package views

import (
	"context"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
)

// Blocks returns the block that the number before the given one is in and those below it, at most so
// many, the newest first, and how many of them were read for that: those that cannot change are kept in
// memory. One that is not there is empty.
func (v *Views) Blocks(ctx context.Context, owner string, before int64, most int) (blocks []executions.Block, read int, err error) {
	var keys []string
	var missing []int // their places in blocks
	for first := executions.BlockFirst(before - 1); first > 0 && len(blocks) < most; first -= executions.BlockSize {
		b, kept := v.blocks.get(owner, first)
		if blocks = append(blocks, b); !kept {
			keys, missing = append(keys, executions.BlockKey(owner, first)), append(missing, len(blocks)-1)
		}
	}
	if len(keys) == 0 {
		return blocks, 0, nil
	}
	values, _, err := v.fetchAll(ctx, keys)
	if err != nil {
		return nil, 0, err
	}
	for i, key := range keys {
		raw, there := values[key]
		if !there {
			continue
		}
		b, err := decode[executions.Block](executions.Projection, key, raw)
		if err != nil {
			return nil, 0, err
		}
		blocks[missing[i]] = v.blocks.keep(owner, executions.BlockFirst(before-1)-int64(missing[i])*executions.BlockSize, b)
	}
	return blocks, len(keys), nil
}

const (
	// maxBlockBytes bounds the blocks in memory, each of which takes about six bytes an execution.
	maxBlockBytes = 64 << 20
	// blocksAge is how long they are believed: a rebuild may have corrected them.
	blocksAge = 10 * time.Minute
	// blockBytes is what a block takes beside its rows.
	blockBytes = 160
)

// blockCache keeps blocks of whose executions all have ended, by owner: those of who was looked at last.
type blockCache struct {
	mu     sync.Mutex
	now    func() time.Time
	max    int
	owners map[string]*ownerBlocks
	bytes  int
}

// ownerBlocks are the blocks of one owner by their first numbers, and the names in them.
type ownerBlocks struct {
	names  executions.Names
	blocks map[int64]executions.Block
	bytes  int
	// since is when the first of them was kept, used when they were looked at.
	since, used time.Time
}

func newBlockCache(now func() time.Time, maxBytes int) *blockCache {
	return &blockCache{now: now, max: maxBytes, owners: map[string]*ownerBlocks{}}
}

// get returns the block that begins with the number, if it is kept.
func (c *blockCache) get(owner string, first int64) (b executions.Block, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, known := c.owners[owner]
	if !known {
		return b, false
	}
	now := c.now()
	if now.Sub(o.since) > blocksAge {
		c.drop(owner)
		return b, false
	}
	o.used = now
	b, kept = o.blocks[first]
	return b, kept
}

// keep keeps the block if it cannot change and there is room, and returns it, or one that says the same.
func (c *blockCache) keep(owner string, first int64, b executions.Block) executions.Block {
	if !b.Ended() {
		return b
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.room(owner) {
		return b
	}
	now := c.now()
	o, known := c.owners[owner]
	if !known {
		o = &ownerBlocks{blocks: map[int64]executions.Block{}, since: now}
		c.owners[owner] = o
	}
	o.used = now
	if _, kept := o.blocks[first]; kept {
		return b
	}
	shared, grown, ok := o.names.Share(b)
	if !ok {
		return b
	}
	grown += len(shared.Rows) + blockBytes
	o.blocks[first], o.bytes, c.bytes = shared, o.bytes+grown, c.bytes+grown
	return shared
}

// room makes room for a block of the owner: whoever was looked at longest ago goes.
func (c *blockCache) room(owner string) bool {
	for c.bytes >= c.max {
		oldest := ""
		for name, o := range c.owners {
			if name != owner && (oldest == "" || o.used.Before(c.owners[oldest].used)) {
				oldest = name
			}
		}
		if oldest == "" {
			return false
		}
		c.drop(oldest)
	}
	return true
}

func (c *blockCache) drop(owner string) {
	c.bytes -= c.owners[owner].bytes
	delete(c.owners, owner)
}
