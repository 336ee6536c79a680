package pool

// Settle is for tests, which count in it.
const Settle = settle
