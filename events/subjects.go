package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ExecutionPartitions is the number of partitions that executions are spread over, so that a
// sourced stream can drop the id from its subjects and still be searched by partition.
const ExecutionPartitions = 16

// FunctionSubject is the subject of all events of one function (every version).
func FunctionSubject(owner, name string) string { return "hermes.function." + owner + "." + name }

// ExecutionSubject is the subject of all events of one execution.
func ExecutionSubject(owner, id string) string {
	return "hermes.execution." + strconv.Itoa(ExecutionPartition(id)) + "." + owner + "." + id
}

// forgotten stands in the place of an execution's id, or of a function's name: it is neither.
const forgotten = "-"

// FunctionsForgottenSubject is where the log of functions says that an owner was forgotten.
func FunctionsForgottenSubject(owner string) string { return FunctionSubject(owner, forgotten) }

// ExecutionsForgottenSubject is where the log of executions says so.
func ExecutionsForgottenSubject(owner string) string { return ExecutionSubject(owner, forgotten) }

// ExecutionPartition is fnv32a(id) mod ExecutionPartitions.
func ExecutionPartition(id string) int {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return int(h % ExecutionPartitions)
}

// WatcherSubject is the subject of all events of one watcher.
func WatcherSubject(watcher string) string { return "hermes.watcher." + watcher }

// UserSubject is the subject of all events of one user.
func UserSubject(user string) string { return "hermes.user." + user }

// BaseSubject is the subject of all events of one base (every image of the name).
func BaseSubject(name string) string { return "hermes.base." + name }

// LanguageSubject is the subject of all events of one language.
func LanguageSubject(language string) string { return "hermes.language." + language }

// AuditSubject is the subject of all audit events of one type.
func AuditSubject(t Type) string {
	return auditPrefix + string(t[strings.LastIndex(string(t), ".")+1:])
}

const auditPrefix = "hermes.audit."

// OutputSubject is where a watcher publishes the output of an execution.
func OutputSubject(watcher, owner, id string) string {
	return "hermes.output." + watcher + "." + owner + "." + id
}

// GPUSubject is where a watcher publishes what the GPUs of an execution do, beside its output. No
// execution's id is another's with this ending.
func GPUSubject(watcher, owner, id string) string { return OutputSubject(watcher, owner, id) + "-gpu" }

// RunSubject is where the orchestrator puts the run request of an execution placed on a watcher.
func RunSubject(watcher, owner, id string) string {
	return "hermes.run." + watcher + "." + owner + "." + id
}

// ArchiveSubject is where the final views of an owner's executions are kept, by the month (UTC) in which
// they were asked for.
func ArchiveSubject(owner string, asked time.Time) string {
	return archivePrefix + owner + "." + asked.UTC().Format("200601")
}

// ArchiveGoneSubject is where the archive says that what it kept of an owner is gone.
func ArchiveGoneSubject(owner string) string { return archivePrefix + owner + "." + ArchiveGone }

// ArchiveSubjects matches all that the archive keeps of an owner.
func ArchiveSubjects(owner string) string { return archivePrefix + owner + ".*" }

// ParseArchiveSubject is the inverse of ArchiveSubject and ArchiveGoneSubject: the owner, and the month as
// it is written or ArchiveGone.
func ParseArchiveSubject(subject string) (owner, month string, err error) {
	t, err := tokens(subject, archivePrefix, 2)
	if err != nil {
		return "", "", err
	}
	if _, err := time.Parse("200601", t[1]); err != nil && t[1] != ArchiveGone {
		return "", "", fmt.Errorf("subject %q: %q is no month", subject, t[1])
	}
	return t[0], t[1], nil
}

// ArchiveGone stands in the place of a month.
const ArchiveGone = "gone"

const archivePrefix = "hermes.archive."

// RunsSubject matches the run requests of a watcher.
func RunsSubject(watcher string) string { return "hermes.run." + watcher + ".>" }

// ParseFunctionSubject is the inverse of FunctionSubject.
func ParseFunctionSubject(subject string) (owner, name string, err error) {
	t, err := tokens(subject, "hermes.function.", 2)
	if err != nil {
		return "", "", err
	}
	return t[0], t[1], nil
}

// OwnerOf is whose a subject is: of executions, functions, users or the archive; empty for one that is nobody's.
func OwnerOf(subject string) string {
	rest, is := strings.CutPrefix(subject, "hermes.")
	kind, rest, more := strings.Cut(rest, ".")
	if !is || !more {
		return ""
	}
	switch kind {
	case "execution":
		_, rest, _ = strings.Cut(rest, ".")
	case "function", "user", "archive":
	default:
		return ""
	}
	owner, _, _ := strings.Cut(rest, ".")
	return owner
}

// ParseExecutionSubject is the inverse of ExecutionSubject; a partition that is not the id's own is an error.
func ParseExecutionSubject(subject string) (owner, id string, err error) {
	t, err := tokens(subject, "hermes.execution.", 3)
	if err != nil {
		return "", "", err
	}
	if t[0] != strconv.Itoa(ExecutionPartition(t[2])) {
		return "", "", fmt.Errorf("subject %q: partition %s is not the id's", subject, t[0])
	}
	return t[1], t[2], nil
}

// ParseWatcherSubject is the inverse of WatcherSubject.
func ParseWatcherSubject(subject string) (watcher string, err error) {
	t, err := tokens(subject, "hermes.watcher.", 1)
	if err != nil {
		return "", err
	}
	return t[0], nil
}

// ParseUserSubject is the inverse of UserSubject.
func ParseUserSubject(subject string) (user string, err error) {
	t, err := tokens(subject, "hermes.user.", 1)
	if err != nil {
		return "", err
	}
	return t[0], nil
}

// ParseBaseSubject is the inverse of BaseSubject.
func ParseBaseSubject(subject string) (name string, err error) {
	t, err := tokens(subject, "hermes.base.", 1)
	if err != nil {
		return "", err
	}
	return t[0], nil
}

// ParseLanguageSubject is the inverse of LanguageSubject.
func ParseLanguageSubject(subject string) (language string, err error) {
	t, err := tokens(subject, "hermes.language.", 1)
	if err != nil {
		return "", err
	}
	return t[0], nil
}

// ParseRunSubject is the inverse of RunSubject.
func ParseRunSubject(subject string) (watcher, owner, id string, err error) {
	t, err := tokens(subject, "hermes.run.", 3)
	if err != nil {
		return "", "", "", err
	}
	return t[0], t[1], t[2], nil
}

func tokens(subject, prefix string, n int) ([]string, error) {
	rest, ok := strings.CutPrefix(subject, prefix)
	t := strings.Split(rest, ".")
	if !ok || len(t) != n {
		return nil, fmt.Errorf("subject %q: must be %q and %d tokens", subject, prefix, n)
	}
	for _, token := range t {
		if token == "" || strings.IndexFunc(token, isNoToken) >= 0 {
			return nil, fmt.Errorf("subject %q: bad token %q", subject, token)
		}
	}
	return t, nil
}

// isNoToken reports what no literal token has.
func isNoToken(r rune) bool {
	return r == '*' || r == '>' || r == ' ' || r == '\t' || r == '\r' || r == '\n'
}
