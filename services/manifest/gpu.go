package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/Masterminds/semver/v3"

	"github.com/hermes-serverless/hermes/events"
)

const (
	maxGPUs         = 64
	maxModels       = 16
	maxModelBytes   = 64
	maxDriverBytes  = 64
	minGPUBytes     = 1 << 20
	minIdle         = 10 * time.Second
	shareExclusive  = "exclusive"
	shareShared     = "shared"
	modelsSeparator = "|"
)

// GPU is what the key gpu, or `hermes function run --gpu`, says of GPUs. What it leaves out is zero.
type GPU struct {
	Count       int
	MemoryBytes int64
	Models      []string
	// Share is "exclusive", "shared" or empty.
	Share  string
	Driver string
	Idle   *events.GPUIdle
}

// Over is what is asked for where g stands over what would be asked for without it.
func (g GPU) Over(base events.GPURequest) events.GPURequest {
	r := events.GPURequest{
		Count: cmp.Or(g.Count, base.Count), MemoryBytes: cmp.Or(g.MemoryBytes, base.MemoryBytes),
		Models: base.Models, Shared: base.Shared, Driver: cmp.Or(g.Driver, base.Driver), Idle: cmp.Or(g.Idle, base.Idle),
	}
	if len(g.Models) > 0 {
		r.Models = g.Models
	}
	if g.Share != "" {
		r.Shared = g.Share == shareShared
	}
	return r
}

// gpuKey is a key of the object gpu, and of the flag.
type gpuKey struct {
	name string
	read func(*GPU, json.RawMessage) error
}

func gpuKeys() []gpuKey {
	return []gpuKey{
		{"count", readGPUCount}, {"memory", readGPUMemory}, {"model", readModels}, {"share", readShare},
		{"driver", readDriver}, {"idle", readIdle},
	}
}

// GPUKeys are the keys that ParseGPU knows.
func GPUKeys() []string {
	var names []string
	for _, k := range gpuKeys() {
		names = append(names, k.name)
	}
	return names
}

// readGPUs reads the key gpu. Whether gpuCapable is true is found when the whole file is read.
func readGPUs(m *Manifest, raw json.RawMessage) error {
	if kindOf(raw) != "an object" {
		return fmt.Errorf(`must be an object like {"count": 1, "memory": "8GiB"}, is %s`, kindOf(raw))
	}
	var g GPU
	var wrong parts
	seen := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token() // the {
	for d.More() {
		token, _ := d.Token()
		name, _ := token.(string)
		offset := d.InputOffset() - 1
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := g.set(name, value, seen); err != nil {
			wrong = append(wrong, part{offset, err.Error()})
		}
	}
	if wrong != nil {
		return wrong
	}
	r := g.Over(events.GPURequest{Count: 1})
	if err := CheckGPU(r); err != nil {
		return err
	}
	m.Config.GPU = &r
	return nil
}

// set sets what a key says, once.
func (g *GPU) set(name string, value json.RawMessage, seen map[string]bool) error {
	i := slices.IndexFunc(gpuKeys(), func(k gpuKey) bool { return k.name == name })
	if i < 0 {
		_, message := unknown(GPUKeys(), name)
		return fmt.Errorf("%s %s", name, message)
	}
	if seen[name] {
		return fmt.Errorf("%s is there twice", name)
	}
	seen[name] = true
	if err := gpuKeys()[i].read(g, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// ParseGPU reads what the flag --gpu says: KEY=VALUE, with the keys and the values of the object gpu,
// separated by commas, like "count=2,memory=8GiB,model=H100|A100,share=shared". The models are
// separated by "|"; idle is a percentage and a time: "idle=5%/10m".
func ParseGPU(text string) (GPU, error) {
	var g GPU
	seen := map[string]bool{}
	for assignment := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return GPU{}, fmt.Errorf("%q must be KEY=VALUE, like memory=8GiB; the keys are %s", assignment, strings.Join(GPUKeys(), ", "))
		}
		raw, err := gpuValue(key, value)
		if err == nil {
			err = g.set(key, raw, seen)
		}
		if err != nil {
			return GPU{}, err
		}
	}
	return g, nil
}

// gpuValue is what the file would have for a value of the flag.
func gpuValue(key, value string) (json.RawMessage, error) {
	switch key {
	case "count", "memory":
		return valueOf(value), nil
	case "model":
		return json.Marshal(strings.Split(value, modelsSeparator))
	case "idle":
		below, idle, ok := strings.Cut(value, "/")
		percent, err := strconv.Atoi(strings.TrimSuffix(below, "%"))
		if !ok || err != nil {
			return nil, fmt.Errorf(`idle: %q must be a percentage and a time, like "5%%/10m"`, value)
		}
		return json.Marshal(map[string]any{"below": percent, "for": idle})
	}
	return json.Marshal(value)
}

// GPUText says a request as ParseGPU reads it.
func GPUText(r events.GPURequest) string {
	words := []string{"count=" + strconv.Itoa(r.Count)}
	if r.MemoryBytes > 0 {
		words = append(words, "memory="+SizeText(r.MemoryBytes))
	}
	if len(r.Models) > 0 {
		words = append(words, "model="+strings.Join(r.Models, modelsSeparator))
	}
	if r.Shared {
		words = append(words, "share="+shareShared)
	}
	if r.Driver != "" {
		words = append(words, "driver="+strings.ReplaceAll(r.Driver, ",", " ")) // both say that each must hold
	}
	if r.Idle != nil {
		words = append(words, fmt.Sprintf("idle=%d%%/%s", r.Idle.BelowPercent, TimeoutText(r.Idle.ForMillis)))
	}
	return strings.Join(words, ",")
}

// CheckGPU says what is wrong with a request.
func CheckGPU(r events.GPURequest) error {
	switch {
	case r.Count < 1 || r.Count > maxGPUs:
		return fmt.Errorf("count: %d must be a whole number from 1 to %d", r.Count, maxGPUs)
	case r.MemoryBytes < 0 || r.MemoryBytes > maxSizeBytes:
		return fmt.Errorf("memory: %d bytes can be asked for nowhere", r.MemoryBytes)
	case r.Shared && r.MemoryBytes == 0:
		return errors.New(`share: "shared" needs memory: it is what is set aside on the device, beside that of others`)
	}
	if err := checkModels(r.Models); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if r.Driver != "" {
		if err := checkDriver(r.Driver); err != nil {
			return fmt.Errorf("driver: %w", err)
		}
	}
	if i := r.Idle; i != nil && (i.BelowPercent < 1 || i.BelowPercent > 100 || i.ForMillis < minIdle.Milliseconds() || i.ForMillis > maxTimeout.Milliseconds()) {
		return fmt.Errorf(`idle: below %d for %dms must be below 1 to 100 (percent) for %s to %s`, i.BelowPercent, i.ForMillis, minIdle, maxTimeout)
	}
	return nil
}

func readGPUCount(g *GPU, raw json.RawMessage) error {
	if kindOf(raw) != "a number" {
		return fmt.Errorf("must be a number, like 2; is %s", kindOf(raw))
	}
	count, err := number(raw)
	if err != nil {
		return err
	}
	if count < 1 || count > maxGPUs || count != float64(int(count)) {
		return fmt.Errorf("%s must be a whole number from 1 to %d", raw, maxGPUs)
	}
	g.Count = int(count)
	return nil
}

func readGPUMemory(g *GPU, raw json.RawMessage) (err error) {
	g.MemoryBytes, err = readSize(raw, minGPUBytes)
	return err
}

// readModels takes one model, or a list, the one that is liked best first.
func readModels(g *GPU, raw json.RawMessage) error {
	var models []string
	switch kindOf(raw) {
	case "a string":
		models = []string{""}
		if err := json.Unmarshal(raw, &models[0]); err != nil {
			return err
		}
	case "a list":
		if json.Unmarshal(raw, &models) != nil {
			return errors.New(`must be a list of strings, like ["H100", "A100"]`)
		}
		if len(models) == 0 {
			return errors.New("is an empty list; leave it out for any")
		}
	default:
		return fmt.Errorf(`must be a string or a list, like ["H100", "A100"]; is %s`, kindOf(raw))
	}
	g.Models = models
	return checkModels(models)
}

func checkModels(models []string) error {
	if len(models) > maxModels {
		return fmt.Errorf("has %d models; at most %d are allowed", len(models), maxModels)
	}
	for _, m := range models {
		if m == "" || len(m) > maxModelBytes || strings.TrimSpace(m) != m || strings.ContainsFunc(m, notOfModel) {
			return fmt.Errorf(`%q must be a part of a model's name, like "H100"; allowed are letters, digits, space and "-._"`, m)
		}
	}
	return nil
}

func notOfModel(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(" -._", c))
}

func readShare(g *GPU, raw json.RawMessage) (err error) {
	g.Share, err = oneOf(raw, shareExclusive, shareShared)
	return err
}

func readDriver(g *GPU, raw json.RawMessage) (err error) {
	if g.Driver, err = text(raw); err != nil {
		return err
	}
	return checkDriver(g.Driver)
}

func checkDriver(constraint string) error {
	if len(constraint) <= maxDriverBytes && !strings.ContainsFunc(constraint, unicode.IsControl) {
		if _, err := semver.NewConstraint(constraint); err == nil {
			return nil
		}
	}
	return fmt.Errorf(`%.80q must be a constraint on the driver's version, like ">=550" or ">=535 <560"`, constraint)
}

// readIdle takes {"below": 5, "for": "10m"}.
func readIdle(g *GPU, raw json.RawMessage) error {
	var keys map[string]json.RawMessage
	if json.Unmarshal(raw, &keys) != nil || len(keys) != 2 || keys["below"] == nil || keys["for"] == nil {
		return errors.New(`must be an object like {"below": 5, "for": "10m"}: a percentage, and a time`)
	}
	below, err := number(keys["below"])
	if err != nil || kindOf(keys["below"]) != "a number" || below < 1 || below > 100 || below != float64(int(below)) {
		return fmt.Errorf("below: %s must be a whole number from 1 to 100, in percent", keys["below"])
	}
	idle, err := readDuration(keys["for"])
	if err != nil {
		return fmt.Errorf("for: %w", err)
	}
	if idle < minIdle || idle > maxTimeout {
		return fmt.Errorf("for: %s must be from %s to %s", keys["for"], minIdle, maxTimeout)
	}
	g.Idle = &events.GPUIdle{BelowPercent: int(below), ForMillis: idle.Milliseconds()}
	return nil
}

// fileGPU is the object gpu as the file shows it.
type fileGPU struct {
	Count  int       `json:"count"`
	Memory any       `json:"memory,omitempty"`
	Model  []string  `json:"model,omitempty"`
	Share  string    `json:"share,omitempty"`
	Driver string    `json:"driver,omitempty"`
	Idle   *fileIdle `json:"idle,omitempty"`
}

type fileIdle struct {
	Below int    `json:"below"`
	For   string `json:"for"`
}

func gpuInFile(r *events.GPURequest) *fileGPU {
	if r == nil {
		return nil
	}
	f := &fileGPU{Count: r.Count, Memory: sizeValue(r.MemoryBytes), Model: r.Models, Driver: r.Driver}
	if r.Shared {
		f.Share = shareShared
	}
	if r.Idle != nil {
		f.Idle = &fileIdle{r.Idle.BelowPercent, TimeoutText(r.Idle.ForMillis)}
	}
	return f
}
