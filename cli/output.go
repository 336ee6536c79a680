package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// format is how results are printed.
type format string

const (
	formatTable     format = "table"
	formatJSON      format = "json"
	formatJSONLines format = "jsonl"
)

func formats() []string {
	return []string{string(formatTable), string(formatJSON), string(formatJSONLines)}
}

func parseFormat(name string) (format, error) {
	for _, f := range formats() {
		if f == name {
			return format(name), nil
		}
	}
	return formatTable, usage("--output %q: must be %s", name, strings.Join(formats(), ", "))
}

// human says whether results are for people.
func (a *app) human() bool { return a.format == formatTable }

// inLines prints a value a line, whichever format was chosen: a stream has no end at which one value
// could be closed.
func (a *app) inLines() *app {
	lines := *a
	lines.format = formatJSONLines
	return &lines
}

// printJSON prints one value.
func (a *app) printJSON(value any) error {
	encoder := json.NewEncoder(a.streams.Out)
	encoder.SetEscapeHTML(false)
	if a.format == formatJSON {
		encoder.SetIndent("", "  ")
	}
	return encoder.Encode(value)
}

// printList prints values as one array, or one a line.
func printList[T any](a *app, values []T) error {
	if a.format == formatJSON {
		if values == nil {
			values = []T{}
		}
		return a.printJSON(values)
	}
	for _, value := range values {
		if err := a.printJSON(value); err != nil {
			return err
		}
	}
	return nil
}

// printTable prints columns without lines around them, which people read and scripts can cut.
func (a *app) printTable(w io.Writer, header []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(cells(header, a.streams.Bold))
	for _, row := range rows {
		t.AppendRow(cells(row, func(s string) string { return s }))
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

func cells(words []string, style func(string) string) table.Row {
	row := make(table.Row, len(words))
	for i, word := range words {
		row[i] = style(word)
	}
	return row
}

// printFields prints names and values one below the other; values that are empty are left out.
func (a *app) printFields(w io.Writer, fields [][2]string) error {
	width := 0
	for _, f := range fields {
		if f[1] != "" {
			width = max(width, len(f[0]))
		}
	}
	for _, f := range fields {
		if f[1] == "" {
			continue
		}
		name := a.streams.Bold(f[0]) + strings.Repeat(" ", width-len(f[0]))
		if _, err := fmt.Fprintf(w, "%s   %s\n", name, f[1]); err != nil {
			return err
		}
	}
	return nil
}
