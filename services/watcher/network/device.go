package network

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DevicePath is what TUN devices are made with.
const DevicePath = "/dev/net/tun"

// OpenDevice makes the device in the network namespace of the calling thread, which the caller has
// to hold, and sets up the namespace's loopback, address and routes. The device is gone when the
// file is closed everywhere.
func OpenDevice() (*os.File, error) {
	tun, err := openTUN()
	if err != nil {
		return nil, err
	}
	if err := setUp(); err != nil {
		return nil, errors.Join(err, tun.Close())
	}
	return tun, nil
}

func openTUN() (*os.File, error) {
	fd, err := unix.Open(DevicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; modprobe tun", DevicePath, err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", device, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// setUp makes the way out of the namespace lead through the device.
func setUp() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	loopback, err := handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("look for lo: %w", err)
	}
	tun, err := handle.LinkByName(device)
	if err != nil {
		return fmt.Errorf("look for %s: %w", device, err)
	}
	if err := errors.Join(handle.LinkSetUp(loopback), handle.LinkSetMTU(tun, MTU), handle.LinkSetUp(tun)); err != nil {
		return fmt.Errorf("set up lo and %s: %w", device, err)
	}
	if err := addRoute(handle, tun, address, "0.0.0.0/0"); err != nil {
		return err
	}
	err = addRoute(handle, tun, address6, "::/0")
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil // a machine without IPv6
	}
	return err
}

// addRoute gives the device an address, and makes it the way to all others of its kind.
func addRoute(handle *netlink.Handle, tun netlink.Link, own, all string) error {
	addr, err := netlink.ParseAddr(own)
	if err != nil {
		return err
	}
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD // nobody else is there
	}
	if err := handle.AddrAdd(tun, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", device, own, err)
	}
	_, everything, err := net.ParseCIDR(all)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: tun.Attrs().Index, Dst: everything, Scope: netlink.SCOPE_LINK}
	if addr.IP.To4() == nil {
		route.Scope = netlink.SCOPE_UNIVERSE
	}
	if err := handle.RouteAdd(route); err != nil {
		return fmt.Errorf("route %s to %s: %w", all, device, err)
	}
	return nil
}
