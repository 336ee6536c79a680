package cli

import (
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/commandline"
)

func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "hermes",
		Short: "Serverless for GPUs: a folder with a Makefile becomes a function",
		Long: `Hermes makes a function of a folder with a Makefile and runs it on a server's CPUs and GPUs.

Every command can also be spelt with a colon: hermes function:run.`,
		Example: `  hermes function init --name pi --language cpp --template pi-montecarlo
  cd pi && hermes function deploy
  echo 1000000 | hermes function run pi
  hermes execution list`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.chooseFormat()
		},
	}
	root.SetVersionTemplate("hermes {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.contextName, "context", "", "NATS `context` to use: which server, and as whom (also HERMES_CONTEXT)")
	flags.StringVarP(&a.outputFlag, "output", "o", "", "`format` of results: table, json or jsonl")
	flags.BoolVarP(&a.jsonFlag, "json", "j", false, "the same as --output json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return contextNames(), cobra.ShellCompDirectiveNoFileComp
	})
	root.AddCommand(newFunctionCmd(a), newExecutionCmd(a), newGPUCmd(a), newEventsCmd(a, nil), newTopCmd(a, nil), newRemoteCmd(a), newQuotaCmd(a, nil), newBenchCmd(a, nil), newConfigCmd(a, nil), newVersionCmd(a, nil), newExitCodesTopic())
	commandline.Prepare(root)
	return root
}

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of hermes:

    0  done
    1  failed or refused: a build failed, the server had an error, a setting is unknown, not all
       executions that were waited for, or of a map, succeeded, a rerun's output differs
    2  wrong usage or invalid input
    3  what was named does not exist
    4  it exists already, or is in a state in which this cannot be done
    5  not logged in, or not allowed
    6  a limit or quota is reached
    7  the server cannot be reached or does not answer
  130  interrupted: the build was cancelled, or you detached from it

"hermes function run" and "hermes execution rerun" exit with the function's own exit code, unless with
--async, and so do "hermes execution attach", and "wait" for one execution; what goes wrong with these
two themselves has one of the codes above. Besides:

  124  the function ran longer than its timeout
  125  Hermes failed, not the function: the request was refused, the server was not reached,
       the machine that ran it was lost, the output that arrived is not what was printed
  126  the handler cannot be executed
  127  the handler is missing
  128+n  signal n ended the function: 137 is SIGKILL, 139 is SIGSEGV
  130  the execution was cancelled, or you detached from it`,
	}
}
