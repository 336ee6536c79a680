package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

// readsTLS reads the line with which a NATS server greets: whether it goes on with TLS only.
func readsTLS(conn net.Conn) (bool, error) {
	if err := conn.SetReadDeadline(time.Now().Add(connectTimeout)); err != nil {
		return false, fmt.Errorf("read the server's greeting: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	body, isInfo := strings.CutPrefix(line, "INFO ")
	var info struct {
		TLSRequired bool `json:"tls_required"`
	}
	if err == nil && isInfo {
		err = json.Unmarshal([]byte(body), &info)
	}
	if err != nil || !isInfo {
		return false, api.Errorf(api.Unavailable, api.ServerUnavailable, "no NATS server greets at %s", conn.RemoteAddr()).
			WithHint("tls://HOST:PORT is for servers that speak TLS from the first byte")
	}
	return info.TLSRequired, nil
}
