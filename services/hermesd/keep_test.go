package main

import (
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

func TestKeepFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want instance.Keep
		bad  bool
	}{
		"nothing":   {nil, instance.Keep{}, false},
		"days":      {[]string{"--keep-executions", "30d", "--keep-output=7d"}, instance.Keep{Executions: 720 * time.Hour, Output: 168 * time.Hour}, false},
		"hours":     {[]string{"--keep-output", "1h30m"}, instance.Keep{Output: 90 * time.Minute}, false},
		"bytes":     {[]string{"--max-output-bytes", "20GiB", "--let-output-go"}, instance.Keep{OutputBytes: 20 << 30, LetOutputGo: true}, false},
		"plain":     {[]string{"--max-output-bytes", "1000000000"}, instance.Keep{OutputBytes: 1e9}, false},
		"too short": {[]string{"--keep-executions", "59m"}, instance.Keep{}, true},
		"no days":   {[]string{"--keep-executions", "0d"}, instance.Keep{}, true},
		"less":      {[]string{"--keep-output", "-3d"}, instance.Keep{}, true},
		"for ever":  {[]string{"--keep-output", "100000d"}, instance.Keep{}, true},
		"no time":   {[]string{"--keep-output", "long"}, instance.Keep{}, true},
		"too small": {[]string{"--max-output-bytes", "1KiB"}, instance.Keep{}, true},
		"no size":   {[]string{"--max-output-bytes", "much"}, instance.Keep{}, true},
	} {
		var got instance.Keep
		cmd := &cobra.Command{Use: "up"}
		keepFlags(cmd, &got)
		if err := cmd.ParseFlags(c.args); (err != nil) != c.bad || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}
