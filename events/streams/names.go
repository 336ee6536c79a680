// Package streams holds every stream, bucket and object store of Hermes as values, and makes a
// JetStream account look like them.
package streams

// Streams of events.
const (
	Functions  = "HERMES_FUNCTIONS"
	Executions = "HERMES_EXECUTIONS"
	Fleet      = "HERMES_FLEET"
	Users      = "HERMES_USERS"
	Bases      = "HERMES_BASES"
	// Audit is bounded by age and bytes, and each type by number.
	Audit = "HERMES_AUDIT"
)

// Streams that follow from the events, or carry work.
const (
	// History keeps the events of executions after Executions has let them go.
	History = "HERMES_HISTORY"
	// Archive keeps the final view of each ended execution, once.
	Archive = "HERMES_ARCHIVE"
	// Runs is the work queue of run requests placed on watchers.
	Runs = "HERMES_RUNS"
	// Output carries what executions print.
	Output = "HERMES_OUTPUT"
)

// Key-value buckets. All but the leases are written by the projector alone.
const (
	BucketFunctions  = "hermes_functions"
	BucketExecutions = "hermes_executions"
	BucketFleet      = "hermes_fleet"
	BucketUsers      = "hermes_users"
	BucketBases      = "hermes_bases"
	// BucketLeases holds who lives and who leads. It is in memory: a lease does not outlive the
	// server, and after a restart of a single server its revisions start at 1 again.
	BucketLeases = "hermes_leases"
	// BucketSecrets holds what must be able to go away and is in no event: hashes of passwords, and
	// of invitations.
	BucketSecrets = "hermes_secrets"
)

// Blobs is the object store of bundles, artifacts, large inputs and base images, by digest.
const Blobs = "hermes_blobs"

// WatcherAPI is the prefix of the JetStream API in a watcher's account, where only the part that a
// watcher needs is.
const WatcherAPI = "HERMES.API"

// BucketStream is the stream behind a bucket.
func BucketStream(bucket string) string { return "KV_" + bucket }

// BucketSubject is the subject of a key in the stream behind its bucket.
func BucketSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// BlobsStream is the stream behind an object store.
func BlobsStream(store string) string { return "OBJ_" + store }
