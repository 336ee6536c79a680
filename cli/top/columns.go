package top

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// machineWidths are those of the machines' columns; 0 takes the rest.
var machineWidths = []int{13, 9, 16, 9, 18, 0}

// runWidths are those of the executions' columns: a narrow screen has no machines, and a small one
// less of everything.
func runWidths(width int) []int {
	if width < 60 {
		return []int{8, 10, 8, 0}
	}
	return []int{10, 10, 10, 0, 14}
}

// columns puts words into columns, a space between them. What has no column is left out.
func columns(width int, widths []int, words ...string) string {
	rest := width
	for _, w := range widths {
		rest -= w
	}
	var line strings.Builder
	for i, w := range widths {
		if w == 0 {
			w = max(1, rest)
		}
		if i == len(widths)-1 {
			line.WriteString(ansi.Truncate(words[i], w, "…"))
			break
		}
		line.WriteString(fit(ansi.Truncate(words[i], w-1, "…"), w))
	}
	return line.String()
}
