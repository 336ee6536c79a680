package output

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/hermes-serverless/hermes/services/watcher/gate"
)

const (
	// inFlightBytes bounds what all executions of a watcher together hold in memory: gathered, or
	// sent and not yet acknowledged. At the bound the functions' own writes wait.
	inFlightBytes = 8 << 20
	// streamBytes bounds the same for each of them, so that one cannot take it all.
	streamBytes = 2 << 20
	// bulkAfter is how much an execution prints before it is sent on the connection for those that print
	// much: a server takes in one message of a connection after another, and the others must not wait
	// behind what was printed at full speed.
	bulkAfter = 1 << 20
	// bulkRest is how many times as long as a chunk of those took the next of the same owner waits, while
	// others use the machine too. A printed byte costs the disk, the server and this process, and each
	// run begins and ends with a little of them.
	bulkRest = 7
	// partOverheadBytes is what a chunk costs besides its data.
	partOverheadBytes = 512
	// chunkBytes is the most that one message carries; a server with a smaller limit lowers it.
	chunkBytes = 256 << 10
	// headerBytes is kept free below the server's limit for the headers.
	headerBytes = 4 << 10
	// ackTimeout is how long an acknowledgement may take before the chunk is sent again.
	ackTimeout = 10 * time.Second
	// stallWait is how long a publish may wait for others to be acknowledged. The client's default
	// of 200 ms fails where every write waits for the disk.
	stallWait = 30 * time.Second
	// maxPendingAcks bounds the client's table of acknowledgements, far above what the bytes allow.
	maxPendingAcks = 32 << 10
)

// transport is the part of JetStream that is used here.
type transport interface {
	// send publishes and returns at once; the future resolves within ackTimeout.
	send(m *nats.Msg) (jetstream.PubAckFuture, error)
	// store publishes and waits for the acknowledgement.
	store(ctx context.Context, m *nats.Msg) error
}

// Publisher publishes the output of all executions of one watcher.
type Publisher struct {
	// transport is for what is little, and for the ends of all; bulk for what is much.
	transport, bulk transport
	chunkBytes      int
	budget          *semaphore.Weighted
	gate            *gate.Gate
}

// New returns a publisher on two connections of the same watcher: bulk takes the output of those that
// print much, and may be nc itself. It needs no closing: what it holds goes with the connections.
func New(nc, bulk *nats.Conn) (*Publisher, error) {
	light, err := open(nc)
	if err != nil {
		return nil, err
	}
	heavy, err := open(bulk)
	if err != nil {
		return nil, err
	}
	size := chunkBytes
	if limit := int(min(nc.MaxPayload(), bulk.MaxPayload())) - headerBytes; limit > 0 {
		size = min(size, limit)
	}
	return newPublisher(light, heavy, size), nil
}

func open(nc *nats.Conn) (transport, error) {
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(maxPendingAcks), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return nil, fmt.Errorf("publish output: %w", err)
	}
	return streams{js}, nil
}

func newPublisher(light, bulk transport, size int) *Publisher {
	return &Publisher{transport: light, bulk: bulk, chunkBytes: size, budget: semaphore.NewWeighted(inFlightBytes), gate: gate.New(bulkRest)}
}

// streams is the real transport.
type streams struct{ js jetstream.JetStream }

// send does not let the client repeat a message by itself: it would repeat it behind later ones.
func (s streams) send(m *nats.Msg) (jetstream.PubAckFuture, error) {
	return s.js.PublishMsgAsync(m, jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0))
}

func (s streams) store(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, m)
	return err
}
