package projector

// cacheSize is how many keys a projector remembers at least.
const cacheSize = 10_000

// cache remembers values of keys in two generations: when the young one is full, the old one is
// dropped and the young one grows old. A key in use is young. A nil value is a key that is known
// to have none.
type cache struct {
	young, old map[string]any
}

func newCache() *cache { return &cache{young: map[string]any{}} }

func (c *cache) get(key string) (value any, known bool) {
	if value, known = c.young[key]; known {
		return value, true
	}
	if value, known = c.old[key]; known {
		c.put(key, value)
	}
	return value, known
}

func (c *cache) put(key string, value any) {
	if len(c.young) >= cacheSize {
		c.old, c.young = c.young, map[string]any{}
	}
	c.young[key] = value
}
