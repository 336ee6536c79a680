package doctor

import "context"

// tunDevice is what hermes-network's devices are made with.
const tunDevice = "/dev/net/tun"

func (l looker) network(context.Context) Result {
	missing := warn
	if l.NeedsNetwork {
		missing = broken
	}
	switch {
	case l.Network == "":
		return missing("hermes-network is missing: functions cannot be given a network", "deployments/build.sh")
	case !l.exists(tunDevice):
		return missing("there is no "+tunDevice+": functions cannot be given a network", "modprobe tun")
	}
	return ok("functions can be given one: hermesd up --allow-network")
}
