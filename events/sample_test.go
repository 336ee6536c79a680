package events_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// zero values of every type that this build knows. TestSamplesAreComplete keeps it complete.
var empty = []events.Data{
	events.FunctionRegistered{}, events.FunctionBuilt{}, events.FunctionBuildFailed{},
	events.FunctionAliasSet{}, events.FunctionDeleted{},
	events.ExecutionRequested{}, events.ExecutionStarted{}, events.ExecutionSucceeded{},
	events.ExecutionFailed{}, events.ExecutionCancelRequested{}, events.ExecutionCancelled{},
	events.ExecutionTimedOut{}, events.ExecutionLost{}, events.ExecutionRetried{},
	events.WatcherJoined{}, events.WatcherChanged{}, events.WatcherDraining{},
	events.WatcherCordoned{}, events.WatcherUncordoned{},
	events.WatcherLeft{}, events.WatcherLost{},
	events.UserRegistered{}, events.UserKeyEnrolled{}, events.UserKeyRevoked{},
	events.UserQuotaSet{}, events.UserUnregistered{}, events.UserDisabled{}, events.UserEnabled{},
	events.BaseImported{}, events.BaseRemoved{}, events.LanguageBaseSet{},
	events.FunctionsForgotten{}, events.ExecutionsForgotten{},
	events.UserPasswordSet{}, events.LoginSucceeded{}, events.LoginFailed{}, events.KeyUsed{}, events.OperatorActed{},
}

func TestSamplesAreComplete(t *testing.T) {
	known := map[events.Type]bool{}
	for _, d := range empty {
		known[d.Type()] = true
	}
	for _, typ := range events.Types() {
		if !known[typ] {
			t.Errorf("type %s has no sample here", typ)
		}
	}
	if len(known) != len(events.Types()) {
		t.Errorf("%d samples of %d types", len(known), len(events.Types()))
	}
}

// later are the fields that types got when events of them were stored already, by generation. The
// last generation grows until a release is made of it.
var later = [][]string{
	{"Args", "Env", "ReuseSandbox", "Local", "Network", "Origin"},
	{"Parent", "Profile", "ComputeCapability", "ComputeCapabilities", "Fault", "Driver", "CUDA", "GPU", "Devices", "Interactive", "Given", "Results", "ResultsBytes", "Batch",
		"GPUSecondsPerDay", "OutputBytesPerDay", "RequestsPerSecond"},
	{"Hardware", "CPUModel"},
}

// since are the fields that are later than a generation; the first samples are of generation 0.
func since(generation int) []string { return slices.Concat(later[generation:]...) }

// chooser picks one of n for a field: 0 leaves it empty.
type chooser func(n int) int

// filled returns the data with every field but these set as the chooser says.
func filled(d events.Data, choose chooser, without ...string) events.Data {
	v := reflect.New(reflect.TypeOf(d)).Elem()
	fill(v, choose, without)
	return v.Interface().(events.Data)
}

// full sets every field but these, each to another value.
func full(d events.Data, without ...string) events.Data {
	n := 0
	return filled(d, func(limit int) int { n++; return 1 + n%(limit-1) }, without...)
}

func fill(v reflect.Value, choose chooser, without []string) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		if n := choose(1000); n > 0 {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, n*1000, time.UTC)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !slices.Contains(without, v.Type().Field(i).Name) {
				fill(v.Field(i), choose, without)
			}
		}
	case reflect.Pointer:
		if choose(2) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), choose, without)
		}
	case reflect.Slice:
		if n := choose(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(v.Index(i), choose, without)
			}
		}
	case reflect.Map:
		if n := choose(4); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(key, choose, without)
				fill(value, choose, without)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.String:
		if n := choose(1000); n > 0 {
			v.SetString(fmt.Sprintf("text %d <&>é", n))
		}
	case reflect.Bool:
		v.SetBool(choose(2) > 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(choose(1000)) * 1_000_000_007)
	case reflect.Uint8:
		v.SetUint(uint64(choose(256)))
	default:
		panic(fmt.Sprintf("no sample of a %s", v.Type()))
	}
}
