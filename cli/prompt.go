package cli

import (
	"errors"
	"fmt"
	"os"

	"charm.land/huh/v2"

	"github.com/hermes-serverless/hermes/events"
)

// askInit asks a person for what the flags of init did not say.
func (o *functionInitOptions) askInit() error {
	var fields []huh.Field
	if o.name == "" {
		fields = append(fields, huh.NewInput().Title("Function name:").Value(&o.name).Validate(events.CheckFunctionName))
	}
	if o.language == "" {
		fields = append(fields, huh.NewSelect[string]().Title("Choose the function language:").
			Options(huh.NewOptions("cuda", "cpp")...).Value(&o.language))
	}
	if !o.gpuSet {
		fields = append(fields, huh.NewConfirm().Title("Should use GPU?").Value(&o.gpu))
	}
	if len(fields) == 0 {
		return nil
	}
	form := huh.NewForm(huh.NewGroup(fields...)).WithInput(o.app.streams.In).WithOutput(o.app.streams.Err).WithShowHelp(false)
	if os.Getenv("ACCESSIBLE") != "" || os.Getenv("TERM") == "dumb" {
		// One plain question a line, for screen readers and terminals that cannot move the cursor.
		form = form.WithAccessible(true).WithTheme(huh.ThemeFunc(huh.ThemeBase))
	}
	err := form.RunWithContext(o.ctx)
	if errors.Is(err, huh.ErrUserAborted) {
		return &exitError{code: exitCancelled}
	}
	if err != nil {
		return fmt.Errorf("ask for the function: %w", err)
	}
	return nil
}
