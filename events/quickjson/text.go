package quickjson

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// reader reads a text from its beginning.
type reader struct {
	text string
	at   int
	// negative: the last number had a sign.
	negative bool
}

// next reads one letter, if it is the next.
func (r *reader) next(letter byte) bool {
	if r.at < len(r.text) && r.text[r.at] == letter {
		r.at++
		return true
	}
	return false
}

// skip reads words, if they are the next.
func (r *reader) skip(words string) bool {
	if strings.HasPrefix(r.text[r.at:], words) {
		r.at += len(words)
		return true
	}
	return false
}

// string reads a string in which nothing is escaped.
func (r *reader) string() (string, bool) {
	if !r.next('"') {
		return "", false
	}
	ascii := true
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			s := r.text[r.at:i]
			r.at = i + 1
			return s, ascii || utf8.ValidString(s)
		case c == '\\' || c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

// maxDigits is how many digits fit into an int64 whatever they are.
const maxDigits = 18

// int reads a whole number as encoding/json writes it.
func (r *reader) int() (n int64, ok bool) {
	r.negative = r.next('-')
	begin := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		n = 10*n + int64(r.text[r.at]-'0')
		r.at++
	}
	digits := r.at - begin
	if digits < 1 || digits > maxDigits || digits > 1 && r.text[begin] == '0' {
		return 0, false
	}
	if r.negative {
		n = -n
	}
	return n, true
}

// plain are the letters that encoding/json writes as they are, of those with one byte.
var plain = func() (plain [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, rune(c))
	}
	return plain
}()

// appendString appends a string as it is written.
func appendString(out []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		if !plain[s[i]] {
			raw, err := json.Marshal(s)
			return append(out, raw...), err == nil
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"'), true
}
