package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hermes-serverless/hermes/events/natstest"
)

// relayForScript passes connections on until it is killed, which breaks them: relay LISTEN TARGET.
func relayForScript() int {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		from, err := listener.Accept()
		if err != nil {
			return 1
		}
		to, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			_ = from.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			}()
		}
	}
}

// setAddress sets a variable to an address of a server that is started more than once: address VARIABLE
func setAddress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address VARIABLE")
	}
	address, err := natstest.Address()
	ts.Check(err)
	ts.Setenv(args[0], address)
}

// relayed makes the context "relayed", which reaches the server of the default one by way of a
// relay, and sets RELAY and SERVER to the arguments that the relay takes.
func relayed(ts *testscript.TestScript, _ bool, _ []string) {
	dir := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "nats", "context")
	context := map[string]any{}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(dir, defaultContext+".json"))), &context))
	server, err := url.Parse(context["url"].(string))
	ts.Check(err)
	address, err := natstest.Address()
	ts.Check(err)
	context["url"] = "nats://" + address
	raw, err := json.Marshal(context)
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "relayed.json"), raw, 0o600))
	ts.Setenv("RELAY", address)
	ts.Setenv("SERVER", server.Host)
}
