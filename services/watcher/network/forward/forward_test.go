package forward

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// relayed are the two far ends of what relay connects.
func relayed(t *testing.T) (one, other *net.TCPConn) {
	t.Helper()
	one, a := pair(t)
	other, b := pair(t)
	done := make(chan struct{})
	go func() {
		relay(outsideTCP{a}, outsideTCP{b})
		close(done)
	}()
	t.Cleanup(func() {
		_ = one.Close()
		_ = other.Close()
		<-done
	})
	return one, other
}

func pair(t *testing.T) (dialled, accepted *net.TCPConn) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = listener.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), accepted
}

func say(t *testing.T, conn *net.TCPConn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn *net.TCPConn, want string) {
	t.Helper()
	if text, err := io.ReadAll(conn); string(text) != want || err != nil {
		t.Errorf("heard %q, %v; want %q", text, err, want)
	}
}

// TestRelayHalfClosed: who has said all can still hear the answer.
func TestRelayHalfClosed(t *testing.T) {
	one, other := relayed(t)
	say(t, one, "question")
	hear(t, other, "question")
	say(t, other, "answer")
	hear(t, one, "answer")
}

// TestRelayReset: a connection that broke does not look like one that ended.
func TestRelayReset(t *testing.T) {
	one, other := relayed(t)
	if err := other.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	if n, err := one.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d, %v; want a reset", n, err)
	}
}

func TestPlaces(t *testing.T) {
	places := make(chan struct{}, 1)
	give, ok := take(places)
	if _, more := take(places); !ok || more {
		t.Errorf("of one place the first was %t, the second %t", ok, more)
	}
	give()
	if _, ok := take(places); !ok {
		t.Error("a place that was given back is not there")
	}
}
