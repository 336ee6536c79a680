package commandline

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
)

// program has one command of each kind.
func program() *cobra.Command {
	nothing := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "prog", SilenceErrors: true, SilenceUsage: true}
	base := &cobra.Command{Use: "base"}
	bring := &cobra.Command{Use: "import NAME FILE", Args: cobra.ExactArgs(2), RunE: nothing}
	bring.Flags().Int("files", 0, "")
	bring.Flags().Bool("quick", false, "")
	DurationVar(bring.Flags(), new(time.Duration), "within", "")
	bring.Flags().Var(colour{}, "colour", "")
	list := &cobra.Command{Use: "list", Args: cobra.NoArgs, RunE: nothing}
	list.Flags().String("from", "", "")
	list.Flags().String("to", "", "")
	_ = list.MarkFlagRequired("from")
	_ = list.MarkFlagRequired("to")
	base.AddCommand(bring, list)
	watch := &cobra.Command{Use: "watch", Args: cobra.NoArgs, RunE: nothing}
	watch.AddCommand(&cobra.Command{Use: "drain [NAME]", Args: cobra.MaximumNArgs(1), RunE: nothing})
	root.AddCommand(base, watch, &cobra.Command{Use: "any", RunE: nothing})
	Prepare(root)
	return root
}

// colour is a flag with words of its own for what it does not take.
type colour struct{}

var _ pflag.Value = colour{}

func (colour) Set(text string) error { return fmt.Errorf("%q must be red", text) }
func (colour) String() string        { return "" }
func (colour) Type() string          { return "colour" }

func TestWhatIsNotUnderstood(t *testing.T) {
	for line, want := range map[string]string{
		"bse":                              "prog has no command \"bse\"\n→ did you mean `prog base`?",
		"wat":                              "prog has no command \"wat\"\n→ did you mean `prog watch`?",
		"zzzzzz":                           "prog has no command \"zzzzzz\"\n→ `prog --help` lists its commands",
		"base lst":                         "prog base has no command \"lst\"\n→ did you mean `prog base list`?",
		"watch drian":                      "prog watch has no command \"drian\"\n→ did you mean `prog watch drain`?",
		"help base lst":                    "prog base has no command \"lst\"\n→ did you mean `prog base list`?",
		"help bse":                         "prog has no command \"bse\"\n→ did you mean `prog base`?",
		"completion bsh":                   "prog completion has no command \"bsh\"\n→ did you mean `prog completion bash`?",
		"base import":                      "prog base import needs NAME FILE\n→ `prog base import --help` shows how it is used",
		"base import a":                    "prog base import needs NAME FILE\n→ `prog base import --help` shows how it is used",
		"base import a b c d":              "prog base import takes NAME FILE: \"c\" is one too many\n→ `prog base import --help` shows how it is used",
		"base list a --from x --to y":      "prog base list takes no argument: \"a\" is one too many\n→ `prog base list --help` shows how it is used",
		"watch drain a b":                  "prog watch drain takes [NAME]: \"b\" is one too many\n→ `prog watch drain --help` shows how it is used",
		"base list":                        "prog base list needs --from, --to\n→ `prog base list --help` shows how it is used",
		"base list --to y":                 "prog base list needs --from\n→ `prog base list --help` shows how it is used",
		"base import a b --file 3":         "unknown flag: --file\n→ did you mean `prog base import --files`?",
		"base import a b --nothing-of-it":  "unknown flag: --nothing-of-it\n→ `prog base import --help` shows how it is used",
		"base import a b -x":               "unknown shorthand flag: 'x' in -x\n→ `prog base import --help` shows how it is used",
		"base import a b --files many":     "--files \"many\": must be a whole number\n→ `prog base import --help` shows how it is used",
		"base import a b --quick=maybe":    "--quick \"maybe\": must be true or false\n→ `prog base import --help` shows how it is used",
		"base import a b --within a-while": "--within \"a-while\": must be a time, such as 90s, 5m or 7d\n→ `prog base import --help` shows how it is used",
		"base import a b --colour blue":    "--colour: \"blue\" must be red\n→ `prog base import --help` shows how it is used",
	} {
		root := program()
		root.SetArgs(strings.Fields(line))
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		e, ok := api.AsError(root.Execute())
		if !ok || ExitCode(e) != ExitUsage {
			t.Errorf("%q: it is %v", line, e)
			continue
		}
		var told bytes.Buffer
		Print(&told, "prog", e)
		if got := told.String(); got != "prog: "+want+"\n" {
			t.Errorf("%q: it says\n%s", line, got)
		}
	}
}

func TestWhatIsUnderstood(t *testing.T) {
	for line, shows := range map[string]string{
		"": "base", "base": "import", "help base import": "NAME FILE", "base import a b --files 3": "", "base import a b --within 7d": "", "base list --from a --to b": "",
		"watch": "", "watch drain": "", "any a b": "",
	} {
		root := program()
		var out bytes.Buffer
		root.SetArgs(strings.Fields(line))
		root.SetOut(&out)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), shows) {
			t.Errorf("%q: %v, %s", line, err, out.String())
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"limit", "list", "since", "all"}
	for word, want := range map[string]string{"limt": "limit", "LIMIT": "limit", "lst": "list", "sinse": "since", "a": "", "ls": "list", "everything": "", "": ""} {
		if got := Nearest(word, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for kind, want := range map[api.Kind]int{
		api.Invalid: 2, api.NotFound: 3, api.Exists: 4, api.State: 4, api.Unauthorized: 5, api.LimitReached: 6, api.Unavailable: 7, api.Internal: 1,
	} {
		if got := ExitCode(api.Errorf(kind, "", "")); got != want {
			t.Errorf("%s exits with %d, want %d", kind, got, want)
		}
	}
	if ExitCode(nil) != 0 || ExitCode(io.EOF) != 1 {
		t.Error("no error, or one of something else, has another exit code")
	}
}
