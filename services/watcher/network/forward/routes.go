package forward

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routes asks the host's kernel where packets would go.
type routes struct{ handle *netlink.Handle }

func openRoutes() (routes, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return routes{}, fmt.Errorf("ask the kernel for routes: %w", err)
	}
	return routes{handle}, nil
}

// isSelf: anything but a single other machine. What the kernel delivers to itself it calls local,
// whatever interface or rule makes it so; broadcast and multicast are nobody's connection.
func (r routes) isSelf(addr netip.Addr) (bool, error) {
	found, err := r.handle.RouteGet(addr.AsSlice())
	if err != nil {
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	if len(found) == 0 {
		return false, errors.New("there is no route to " + addr.String())
	}
	for _, route := range found {
		if route.Type != unix.RTN_UNICAST {
			return true, nil
		}
	}
	return false, nil
}
