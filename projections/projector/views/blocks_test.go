package views

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
)

// ended is a block that cannot change.
func ended(function string) executions.Block {
	return executions.Block{
		Functions: [][3]string{{"ana", function, "1.0.0"}}, Watchers: []string{"w"},
		Rows: slices.Repeat([]byte{1, 0, 1, 0, 3}, executions.BlockSize),
	}
}

func TestBlocksAreKept(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newBlockCache(func() time.Time { return now }, 1<<20)
	first := func(i int) int64 { return int64(i)*executions.BlockSize + 1 }
	live := ended("f")
	live.Rows[4] = 2 // running
	if c.keep("ana", first(0), live); len(c.owners) > 0 {
		t.Error("a block that can change is kept")
	}
	for i := range 3 {
		c.keep("ana", first(i), ended(fmt.Sprint("f", i)))
		c.keep("ana", first(i), ended("another")) // read twice at once
	}
	for i := range 3 {
		b, kept := c.get("ana", first(i))
		if places := (&executions.Picks{}).Places(b, 0, executions.BlockSize); !kept || len(places) != executions.BlockSize || b.Functions[i][1] != fmt.Sprint("f", i) || b.Rows[0] != byte(i+1) {
			t.Errorf("block %d is %+v, %v", i, b, kept)
		}
	}
	if _, kept := c.get("ana", first(3)); kept {
		t.Error("a block that nobody has read is there")
	}
	if _, kept := c.get("bob", first(0)); kept {
		t.Error("bob has a block of ana's")
	}
	now = now.Add(blocksAge + 1)
	if _, kept := c.get("ana", first(0)); kept || c.bytes != 0 {
		t.Errorf("after %s it is there: %v, %d bytes", blocksAge, kept, c.bytes)
	}
}

// TestBlocksAreBounded: the blocks of whoever was looked at longest ago make room, and one owner alone has no
// more than there is.
func TestBlocksAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	const most = 9_000 // six blocks
	c := newBlockCache(func() time.Time { now = now.Add(time.Second); return now }, most)
	for i := range 3 {
		c.keep("ana", int64(i)*executions.BlockSize+1, ended("f"))
		c.keep("bob", int64(i)*executions.BlockSize+1, ended("f"))
	}
	c.get("ana", 1)
	for i := range 50 {
		c.keep("eve", int64(i)*executions.BlockSize+1, ended(fmt.Sprint("f", i)))
		if c.bytes > most+4000 {
			t.Fatalf("%d bytes are kept", c.bytes)
		}
		if i == 0 && (c.owners["bob"] != nil || c.owners["ana"] == nil) {
			t.Error("bob's blocks were to go first")
		}
	}
	if c.owners["ana"] != nil || c.bytes != c.owners["eve"].bytes || len(c.owners["eve"].blocks) < 3 {
		t.Errorf("%d bytes are kept, of %v", c.bytes, c.owners)
	}
}
