// Command hermes is what users type: it makes, deploys and runs functions on a Hermes server.
package main

import (
	"os"

	"github.com/hermes-serverless/hermes/cli"
	"github.com/hermes-serverless/hermes/cli/iostreams"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], iostreams.System()))
}
