package orchestrator

import (
	"cmp"
	"reflect"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// requestGPU is what a run of a version asks of GPUs, with what the caller says of it over what the
// config says. The request is nil where it says no more than the number.
func requestGPU(config events.FunctionConfig, ask api.Run) (int, *events.GPURequest, error) {
	if !config.GPUCapable {
		if ask.GPU != nil {
			return 0, nil, api.Errorf(api.Invalid, api.InvalidArguments, "gpu: the function %s/%s asks for no GPU", ask.Function.Owner, ask.Function.Name).
				WithHint("set gpuCapable to true in its hermes.config.json and deploy it again")
		}
		return 0, nil, nil
	}
	r := *cmp.Or(config.GPU, &events.GPURequest{Count: 1})
	if ask.GPU != nil {
		if s := ask.GPU.Share; s != "" && s != "exclusive" && s != "shared" {
			return 0, nil, api.Errorf(api.Invalid, api.InvalidArguments, "gpu: share: %q must be exclusive or shared", s)
		}
		r = manifest.GPU(*ask.GPU).Over(r)
	}
	if err := manifest.CheckGPU(r); err != nil {
		return 0, nil, api.Errorf(api.Invalid, api.InvalidArguments, "gpu: %v", err)
	}
	if reflect.DeepEqual(r, events.GPURequest{Count: r.Count}) {
		return r.Count, nil, nil
	}
	return r.Count, &r, nil
}
