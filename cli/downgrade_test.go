package cli

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestServerThatTakesTLSBack promises TLS to who looks, and then goes on without: whoever is on the
// way can do that.
func TestServerThatTakesTLSBack(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		defer close(said)
		for _, required := range []bool{true, false} {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "INFO {\"server_id\":\"S\",\"version\":\"2.12.0\",\"headers\":true,\"max_payload\":1048576,\"nonce\":\"nonce\",\"auth_required\":true,\"tls_required\":%v}\r\n", required)
			if !required {
				line, _ := bufio.NewReader(conn).ReadString('\n')
				said <- line
			}
			_ = conn.Close()
		}
	}()
	s := newStub(t)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	// This machine, by an address that does not look like it.
	got := s.run("", "remote", "add", "nats://0.0.0.0:"+port, "--name", "lab")
	_ = listener.Close()
	for line := range said {
		if line != "" {
			t.Errorf("it was told %q without TLS", strings.TrimSpace(line))
		}
	}
	if got.code == 0 || !strings.Contains(got.err, "secure connection not available") {
		t.Errorf("%+v", got)
	}
}
