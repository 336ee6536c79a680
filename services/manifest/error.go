package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in the file.
type Problem struct {
	// Line counts from 1; 0 is the file as a whole.
	Line int
	// Field is the key, empty when the problem is not one key's.
	Field   string
	Message string
}

// String is how compilers say it, so that editors can jump there.
func (p Problem) String() string {
	s := FileName
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if p.Field != "" {
		s += ": " + p.Field
	}
	return s + ": " + p.Message
}

// Error is everything that is wrong with a file, by line.
type Error struct{ Problems []Problem }

// listed bounds what Error says: a file of nothing but mistakes must not make an answer that is
// larger than a message may be.
const listed = 50

// Error has a line for each problem.
func (e *Error) Error() string {
	var lines []string
	for i, p := range e.Problems {
		if i == listed {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Problems)-listed))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func (p *parser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(p.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{Problems: p.problems}
}
