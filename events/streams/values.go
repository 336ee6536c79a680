package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Options are what an operator may choose. The zero value is a single server with the defaults.
type Options struct {
	// Replicas of everything, 1 (default) to 5.
	Replicas int
	// OutputAge and OutputBytes bound Output. 0 leaves a bound as it is; where there is none yet it is
	// 7 days, 4 GiB.
	OutputAge   time.Duration
	OutputBytes int64
	// AuditAge and AuditBytes bound Audit. Defaults 365 days and 256 MiB.
	AuditAge   time.Duration
	AuditBytes int64
	// LeaseAge is the longest that a lease can live without being renewed. Default 1 minute.
	LeaseAge time.Duration

	// AllowLoss permits changes that drop stored data, AllowOutputLoss tighter bounds of Output only.
	AllowLoss, AllowOutputLoss bool
	// DataDir is the store of an embedded server: its filesystem is synced after a change, because
	// a stream that was just made does not survive a power cut otherwise. Empty for a server
	// elsewhere.
	DataDir string
	// Sync replaces the sync of DataDir's filesystem.
	Sync func(dataDir string) error
}

func (o Options) withDefaults() Options {
	defaults := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	defaults(&o.OutputAge, 7*24*time.Hour)
	defaults(&o.AuditAge, 365*24*time.Hour)
	defaults(&o.LeaseAge, time.Minute)
	if o.AuditBytes == 0 {
		o.AuditBytes = 256 << 20
	}
	if o.OutputBytes == 0 {
		o.OutputBytes = 4 << 30
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Sync == nil {
		o.Sync = syncFilesystem
	}
	return o
}

const (
	// duplicates is the dedupe window. Each id in it costs server memory, and appends are settled
	// by their expected sequence, not by it.
	duplicates = 30 * time.Second
	// maxConsumers: the server's own default is 1000, which silently starves the watchers behind.
	maxConsumers = 100_000
)

// All returns every stream that must exist, those of buckets and the object store included, in
// an order in which they can be made.
func (o Options) All() []jetstream.StreamConfig {
	o = o.withDefaults()
	all := []jetstream.StreamConfig{
		forgetting(events(Functions, "events of functions, by owner and name", "hermes.function.*.*")),
		forgetting(events(Executions, "events of executions, by partition, owner and id", "hermes.execution.*.*.*")),
		events(Fleet, "events of watchers, by watcher", "hermes.watcher.*"),
		forgetting(events(Users, "events of users, by user", "hermes.user.*")),
		events(Bases, "events of bases, by name, and of what languages are built on", "hermes.base.*", "hermes.language.*"),
		audit(o),
		history(),
		archive(),
		runs(),
		output(o),
		views(BucketFunctions),
		views(BucketExecutions),
		views(BucketFleet),
		views(BucketUsers),
		views(BucketBases),
		leases(o),
		bucket(BucketSecrets, "hashes of passwords and invitations"),
		blobs(),
	}
	for i := range all {
		all[i].Replicas = o.Replicas
		if o.Replicas == 1 && recoverable(all[i].Name) {
			all[i].PersistMode = jetstream.AsyncPersistMode
		}
	}
	return all
}

// recoverable streams need not be on disk before an append to them is acknowledged, which spares
// each execution four syncs: what a crash takes of History is copied from Executions again, and a
// placement that no leader remembers is made anew. Replicated ones have the other servers for that.
func recoverable(stream string) bool { return stream == History || stream == Runs }

// base is what every stream has. Limits are explicit, as the server reports them.
func base(name, description string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Description:       description,
		Subjects:          subjects,
		Storage:           jetstream.FileStorage,
		MaxConsumers:      maxConsumers,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Duplicates:        duplicates,
		AllowDirect:       true,
	}
}

// forgetting is a log of which what users who have left had is purged (services/retention), and of
// Executions what History has, from the beginning on. The server may not do the latter by age: it would not
// know which executions are live, nor wait for History.
func forgetting(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.DenyPurge = false
	return c
}

// events is a log: nothing is ever deleted from it.
func events(name, description string, subjects ...string) jetstream.StreamConfig {
	c := base(name, description, subjects...)
	c.DenyDelete, c.DenyPurge = true, true
	return c
}

// maxAudited is how many audit events of one type are kept: a flood of failed logins displaces failed
// logins only.
const maxAudited = 200_000

func audit(o Options) jetstream.StreamConfig {
	c := events(Audit, "logins, and what the operator did, by type", "hermes.audit.*")
	c.MaxAge, c.MaxBytes, c.MaxMsgsPerSubject = o.AuditAge, o.AuditBytes, maxAudited
	c.DenyDelete = false // from where users who have left logged in is deleted
	return c
}

// history copies Executions onto one subject a partition: a subject costs the server memory, so
// an execution has none of its own here. Nats-Stream-Source keeps the original one.
func history() jetstream.StreamConfig {
	c := events(History, "events of executions for ever, by partition")
	c.DenyDelete = false // those of users who have left are deleted one by one
	c.Compression = jetstream.S2Compression
	c.Sources = []*jetstream.StreamSource{{
		Name: Executions,
		SubjectTransforms: []jetstream.SubjectTransformConfig{{
			Source: "hermes.execution.*.*.*", Destination: HistorySubjectPrefix + "{{wildcard(1)}}",
		}},
	}}
	return c
}

// HistorySubjectPrefix and a partition are the subjects of History.
const HistorySubjectPrefix = "hermes.history."

// archive may be purged: what it keeps of users goes when they leave.
func archive() jetstream.StreamConfig {
	c := base(Archive, "final views of executions, by owner and month", "hermes.archive.*.*")
	c.DenyDelete = true
	c.AllowAtomicPublish = true
	c.Compression = jetstream.S2Compression
	return c
}

func runs() jetstream.StreamConfig {
	c := base(Runs, "run requests, by watcher, owner and id", "hermes.run.>")
	// Nobody consumes it: watchers hear requests as they are published, the leader purges them.
	c.Retention = jetstream.WorkQueuePolicy
	return c
}

func output(o Options) jetstream.StreamConfig {
	c := base(Output, "output of executions, by watcher, owner and id", "hermes.output.>")
	c.MaxAge, c.MaxBytes = o.OutputAge, o.OutputBytes
	return c
}

// bucket is a key-value bucket as nats.go makes one.
func bucket(name, description string) jetstream.StreamConfig {
	c := base(BucketStream(name), description, BucketSubject(name, ">"))
	c.MaxMsgsPerSubject = 1
	c.Discard = jetstream.DiscardNew
	c.AllowRollup, c.DenyDelete = true, true
	c.AllowMsgTTL = true
	return c
}

// views is a bucket that the projector writes in atomic batches. Messages may have a TTL so that
// the marker of a deleted key does not stay for ever.
func views(name string) jetstream.StreamConfig {
	c := bucket(name, "views; written by the projector alone")
	c.AllowAtomicPublish = true
	return c
}

func leases(o Options) jetstream.StreamConfig {
	c := bucket(BucketLeases, "liveness of watchers, leader leases")
	c.Storage = jetstream.MemoryStorage
	c.MaxAge = o.LeaseAge
	// No roll-ups, and so no delete markers, which need them: a watcher writes its lease itself, and a
	// roll-up of one key can take the whole bucket along.
	c.AllowRollup = false
	c.Duplicates = min(duplicates, o.LeaseAge)
	return c
}

// blobs is an object store as nats.go makes one.
func blobs() jetstream.StreamConfig {
	c := base(BlobsStream(Blobs), "bundles, artifacts, large inputs, by digest",
		"$O."+Blobs+".C.>", "$O."+Blobs+".M.>")
	c.Discard = jetstream.DiscardNew
	c.AllowRollup = true
	return c
}
