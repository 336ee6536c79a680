package watcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hermes-serverless/hermes/services/api"
)

// reportDir keeps reports until they are taken, so that the death of this process loses none.
type reportDir string

func openReports(state string) (reportDir, error) {
	dir := filepath.Join(state, "reports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of reports: %w", err)
	}
	return reportDir(dir), nil
}

// path names a report by its owner too: two users may have made the same execution id.
func (d reportDir) path(ref api.AttemptRef) string {
	return filepath.Join(string(d), ref.Owner+"."+ref.ID+"."+strconv.Itoa(ref.Attempt)+".json")
}

// save has the report on disk when it returns nil.
func (d reportDir) save(r api.Report) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	return writeFile(d.path(r.AttemptRef), raw)
}

// remove forgets a report that was taken. It need not be on disk: a report that comes back after a
// crash is answered once more.
func (d reportDir) remove(ref api.AttemptRef) error {
	if err := os.Remove(d.path(ref)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// load returns the reports that an earlier process left, and an error for each file that is none;
// those are set aside as *.bad.
func (d reportDir) load() ([]api.Report, []error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, []error{err}
	}
	var reports []api.Report
	var bad []error
	for _, entry := range entries {
		path := filepath.Join(string(d), entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), ".new-"):
			_ = os.Remove(path) // half written: its attempt was not yet reported
		case filepath.Ext(path) == ".json":
			report, err := loadReport(path)
			if err != nil {
				bad = append(bad, errors.Join(fmt.Errorf("report %s: %w", path, err), os.Rename(path, path+".bad")))
				continue
			}
			// Files of before the owner was part of their names are removed by the new one.
			if err := os.Rename(path, d.path(report.AttemptRef)); err != nil {
				bad = append(bad, fmt.Errorf("report %s: %w", path, err))
			}
			reports = append(reports, report)
		}
	}
	return reports, bad
}

func loadReport(path string) (api.Report, error) {
	var r api.Report
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, err
	}
	return r, checkRef(r.AttemptRef)
}
