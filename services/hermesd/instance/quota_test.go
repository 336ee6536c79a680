package instance_test

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestRequestsASecondAreBounded: whoever asks more often than they may is told so at once by every
// service, and nobody else is; the operator sets it, is told what holds, and sets it back.
func TestRequestsASecondAreBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob, carl := registered(t, p, "bob").connect(t, p, "bob"), registered(t, p, "carl").connect(t, p, "carl")
		set := func(n int64) api.Quotas {
			t.Helper()
			told, err := admin[api.Quotas](t, p, api.OpUserQuota, api.UserQuota{User: "bob", Set: map[string]int64{"rate": n}})
			if err != nil {
				t.Fatal(err)
			}
			return told
		}
		told := set(1)
		if q := told.Quotas[quotas.Rate]; told.User != "bob" || q.IsDefault || q.Limit == nil || *q.Limit != 1 {
			t.Errorf("the operator is told %+v", told)
		}
		for what, ask := range map[string]func(*api.Client) error{
			"the orchestrator": func(c *api.Client) error {
				return second(api.Call[api.Info](t.Context(), c, api.OpInfo, api.InfoRequest{}))
			},
			"the registry": func(c *api.Client) error {
				return second(api.Call[api.Functions](t.Context(), c, api.OpFunctionList, api.FunctionList{}))
			},
			"the accounts": func(c *api.Client) error {
				return second(api.Call[api.Keys](t.Context(), c, api.OpKeysList, api.KeysList{}))
			},
			"their quota": func(c *api.Client) error {
				return second(api.Call[api.Quotas](t.Context(), c, api.OpQuota, api.QuotaRequest{}))
			},
			"output": func(c *api.Client) error {
				_, _, err := c.Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{Number: 1}})
				if api.IsKind(err, api.NotFound) {
					return nil // it was asked
				}
				return err
			},
		} {
			// A second may pass between any two; it fills one place and not thousands.
			var err error
			for range 1000 {
				if err = ask(bob.Client); err != nil {
					break
				}
			}
			wantError(t, what+", too often", err, api.QuotaExceeded)
			if err := ask(carl.Client); err != nil {
				t.Errorf("somebody else is refused by %s: %v", what, err)
			}
		}
		set(0)
		if err := second(api.Call[api.Info](t.Context(), bob.Client, api.OpInfo, api.InfoRequest{})); err != nil {
			t.Errorf("with the default: %v", err)
		}
		set(events.QuotaUnbounded)
		_, err := admin[api.Quotas](t, p, api.OpUserQuota, api.UserQuota{User: "bob", Set: map[string]int64{"disk": 1}})
		wantError(t, "a quota that there is not", err, api.InvalidArguments)
		_, err = admin[api.Quotas](t, p, api.OpUserQuota, api.UserQuota{User: "bob", Set: map[string]int64{"rate": -3}})
		wantError(t, "a number that is none", err, api.InvalidArguments)
		_, err = admin[api.Quotas](t, p, api.OpUserQuota, api.UserQuota{User: "nobody"})
		wantError(t, "a user that there is not", err, api.NoSuchUser)
	})
}

func second[A any](_ A, err error) error { return err }
