package accounts

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestDecideQuota(t *testing.T) {
	known := users.User{Name: "ana", Registered: true, Quota: events.UserQuotaSet{GPUs: 2, QueuedExecutions: 5}}
	leaving := known
	leaving.Leaving = true
	for name, c := range map[string]struct {
		given users.User
		set   map[string]int64
		want  events.Data // nil: nothing is decided
		err   string
	}{
		"a figure":          {known, map[string]int64{"memory": 7}, events.UserQuotaSet{GPUs: 2, QueuedExecutions: 5, MemoryBytes: 7}, ""},
		"back to default":   {known, map[string]int64{"gpus": 0, "queued": events.QuotaUnbounded}, events.UserQuotaSet{QueuedExecutions: -1}, ""},
		"nothing of it":     {known, map[string]int64{"gpus": events.QuotaNothing}, events.UserQuotaSet{GPUs: -2, QueuedExecutions: 5}, ""},
		"as it is":          {known, map[string]int64{"gpus": 2}, nil, ""},
		"shown only":        {known, nil, nil, ""},
		"no such figure":    {known, map[string]int64{"gpus": 1, "disk": 1}, nil, api.InvalidArguments},
		"no such number":    {known, map[string]int64{"gpus": -3}, nil, api.InvalidArguments},
		"too much":          {known, map[string]int64{"gpus": 1 << 40}, nil, api.InvalidArguments},
		"nobody":            {users.User{Name: "eve"}, map[string]int64{"gpus": 1}, nil, api.NoSuchUser},
		"who leaves":        {leaving, map[string]int64{"gpus": 1}, nil, api.UserDisabled},
		"the largest store": {users.User{Name: "bob", Registered: true}, map[string]int64{"stored": 1 << 60}, events.UserQuotaSet{StoredBytes: 1 << 60}, ""},
	} {
		decided, err := decideQuota(c.given, c.set)
		if e, refused := api.AsError(err); refused && e.Name != c.err || !refused && c.err != "" {
			t.Errorf("%s: %v, want %s", name, err, c.err)
		}
		if c.want == nil && len(decided) != 0 || c.want != nil && (len(decided) != 1 || decided[0] != c.want) {
			t.Errorf("%s: decided %+v, want %+v", name, decided, c.want)
		}
	}
}
