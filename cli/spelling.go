package cli

import "strings"

// splitSpelling turns the first Hermes' spelling, `function:run`, into `function run`. Only the
// first word that is not a flag can be a command.
func splitSpelling(args []string) []string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--context", arg == "--output", arg == "-o":
			i++ // its value
		case arg == "--":
			return args
		case strings.HasPrefix(arg, "-"):
		case arg == "help" || strings.HasPrefix(arg, "__complete"):
		default:
			group, command, found := strings.Cut(arg, ":")
			if !found || !isGroup(group) || command == "" {
				return args
			}
			split := append(append([]string{}, args[:i]...), group)
			return append(append(split, strings.Split(command, ":")...), args[i+1:]...)
		}
	}
	return args
}

func isGroup(word string) bool {
	return word == "function" || word == "execution" || word == "gpu" || word == "remote"
}
