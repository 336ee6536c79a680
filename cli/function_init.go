package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/templates"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

type functionInitOptions struct {
	app      *app
	ctx      context.Context
	parent   string
	name     string
	language string
	scope    string
	template string
	gpu      bool
	// gpuSet says that the answer is known, whatever it is.
	gpuSet bool
	list   bool
}

func newFunctionInitCmd(a *app, run func(*functionInitOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionInit
	}
	o := &functionInitOptions{app: a}
	cmd := &cobra.Command{
		Use:   "init [PATH]",
		Short: "Make the folder of a new function",
		Long: `Makes a folder with the function's name in PATH (the current folder if none is named), with
hermes.config.json, a Makefile, a source file and .hermesignore. On a terminal, what the flags do
not say is asked.

Templates:
` + templateTable(),
		Example: `  hermes function init
  hermes function init --name pi --template pi-montecarlo
  hermes function init ./functions --name sum --language cuda --gpu`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx, o.parent = cmd.Context(), dirArg(args)
			o.gpuSet = cmd.Flags().Changed("gpu")
			return run(o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.name, "name", "", "the function's name")
	flags.StringVar(&o.language, "language", "", "cpp or cuda")
	flags.StringVar(&o.template, "template", "", "what to start from")
	flags.StringVar(&o.scope, "scope", "private", "who may run it: private (you) or public (everybody)")
	flags.BoolVar(&o.gpu, "gpu", false, "it needs a GPU")
	flags.BoolVar(&o.list, "list-templates", false, "list the templates")
	_ = cmd.RegisterFlagCompletionFunc("language", cobra.FixedCompletions([]string{"cpp", "cuda"}, noFiles))
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"private", "public"}, noFiles))
	_ = cmd.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(templates.Names(), noFiles))
	return cmd
}

func templateTable() string {
	var b strings.Builder
	for _, t := range templates.All() {
		fmt.Fprintf(&b, "  %-18s %-5s %s\n", t.Name, t.Language, t.Short)
	}
	return strings.TrimRight(b.String(), "\n")
}

func runFunctionInit(o *functionInitOptions) error {
	if o.list {
		return o.listTemplates()
	}
	t, err := o.chooseTemplate()
	if err != nil {
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	config, err := o.manifest()
	if err != nil {
		return err
	}
	if t.Name == "" {
		t, _ = templates.Get(templates.Plain(o.language))
	}
	if o.language != t.Language {
		return usage("the template %s is in %s, not in %s", t.Name, t.Language, o.language)
	}
	return o.write(t, config)
}

func (o *functionInitOptions) listTemplates() error {
	if !o.app.human() {
		return printList(o.app, templates.All())
	}
	var rows [][]string
	for _, t := range templates.All() {
		rows = append(rows, []string{t.Name, t.Language, t.Short})
	}
	return o.app.printTable(o.app.streams.Out, []string{"Template", "Language", "What it does"}, rows)
}

// chooseTemplate takes what a template settles as said: its language, and whether it needs a GPU.
func (o *functionInitOptions) chooseTemplate() (templates.Template, error) {
	if o.template == "" {
		return templates.Template{}, nil
	}
	t, ok := templates.Get(o.template)
	if !ok {
		return t, usage("there is no template %q", o.template).WithHint("there are: %s", strings.Join(templates.Names(), ", "))
	}
	if o.language == "" {
		o.language = t.Language
	}
	if !o.gpuSet {
		o.gpu, o.gpuSet = t.GPU, true
	}
	return t, nil
}

// complete asks for what is missing; where nobody can be asked, that is an error.
func (o *functionInitOptions) complete() error {
	if o.app.streams.Interactive() && o.app.human() {
		return o.askInit()
	}
	var missing []string
	if o.name == "" {
		missing = append(missing, "--name")
	}
	if o.language == "" {
		missing = append(missing, "--language")
	}
	if len(missing) > 0 {
		return usage("%s must be given where nobody can be asked", strings.Join(missing, " and ")).
			WithHint("hermes function init --name pi --language cpp")
	}
	return nil
}

// manifest makes the content of hermes.config.json, or says what is wrong with the answers.
func (o *functionInitOptions) manifest() ([]byte, error) {
	if err := events.CheckFunctionName(o.name); err != nil {
		return nil, usage("--name: %v", err)
	}
	if o.language != "cpp" && o.language != "cuda" {
		return nil, usage("--language %q: must be cpp or cuda", o.language)
	}
	if o.scope != "private" && o.scope != "public" {
		return nil, usage("--scope %q: must be private or public", o.scope)
	}
	raw, err := manifest.Marshal(manifest.Manifest{
		Name: o.name, Version: "1.0.0",
		Config: events.FunctionConfig{Language: o.language, GPUCapable: o.gpu, Scope: o.scope, Handler: "a.out"},
	})
	if err != nil {
		return nil, usage("the function cannot be made so").WithDetail(err.Error())
	}
	return raw, nil
}

func (o *functionInitOptions) write(t templates.Template, config []byte) error {
	dir := filepath.Join(o.parent, o.name)
	if err := mustBeFree(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifest.FileName), config, 0o644); err != nil {
		return fmt.Errorf("write the function: %w", err)
	}
	if err := t.Write(dir); err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{"functionName": o.name, "path": dir, "template": t.Name})
	}
	_, err := fmt.Fprintf(o.app.streams.Out, "-> Function created at %s\n", dir)
	return err
}

// mustBeFree refuses a folder that holds anything: nothing of anybody's is overwritten.
func mustBeFree(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the folder: %w", err)
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return api.Errorf(api.Exists, folderExists, "%s exists and is not empty", dir).
		WithHint("choose another name or another PATH")
}
