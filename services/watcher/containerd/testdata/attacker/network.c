// Networks, and the socket families that are doors into the kernel.
#include "attack.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static verdict family(int domain, int type, int protocol)
{
	int fd = socket(domain, type, protocol);
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT)) return absent("the kernel has no such sockets");
	return judge("opened a socket", fd);
}

static verdict crypto(void) { return family(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }

static verdict hypervisor(void) { return family(40 /* AF_VSOCK */, SOCK_STREAM, 0); }

static verdict device_events(void) { return family(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT); }

// Everything but unix, inet, inet6 and netlink: seldom used, and seldom looked at.
static verdict rare_families(void)
{
	static const int types[] = {SOCK_DGRAM, SOCK_STREAM, SOCK_RAW, SOCK_SEQPACKET};
	for (int domain = 3; domain < 46; domain++) {
		if (domain == AF_INET6 || domain == AF_NETLINK || domain == AF_PACKET || domain == 38 || domain == 40) continue;
		for (int i = 0; i < 4; i++)
			if (socket(domain, types[i], 0) >= 0) return reached("opened a socket of family %d", domain);
	}
	return errno == EPERM ? held("all families") : absent("the kernel has no such sockets, or not for this user");
}

// In a network of its own a socket reaches nothing.
static verdict host_socket(int domain, int type, int protocol)
{
	if (socket(domain, type, protocol) < 0) return held("socket");
	errno = ENETUNREACH;
	return in_host_namespace("net") ? reached("opened a socket in the host's network") : held("in a network of its own");
}

static verdict raw(void) { return host_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }

static verdict packets(void) { return host_socket(17 /* AF_PACKET */, SOCK_RAW, 0); }

static verdict routes(void) { return host_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }

static int reach(const char *address, int port, int type)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = inet_addr(address)};
	return connect(socket(AF_INET, type | SOCK_CLOEXEC, 0), (struct sockaddr *)&to, sizeof to);
}

// A service that listens on the host's loopback only, as NATS does.
static verdict loopback(void) { return judge("connected to a service of the host", reach("127.0.0.1", (int)number("HOST_PORT"), SOCK_STREAM)); }

// Connecting a datagram socket sends nothing; it fails where there is no way.
static verdict route(const char *address)
{
	if (reach(address, 80, SOCK_DGRAM) == 0) return reached("there is a way to %s", address);
	return errno == ENETUNREACH && in_host_namespace("net") ? absent("the host itself has no way there") : held(address);
}

static verdict metadata(void) { return route("169.254.169.254"); }

static verdict outside(void) { return route("192.0.2.1"); }

static verdict unix_path(const char *path, int type)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	return judge(path, connect(socket(AF_UNIX, type, 0), (struct sockaddr *)&to, sizeof to));
}

static verdict containerd(void)
{
	char below[sizeof((struct sockaddr_un){0}.sun_path)];
	const char *path = fact("HOST_CONTAINERD");
	snprintf(below, sizeof below, HOST "%s", path);
	return unix_path(access(path, F_OK) == 0 ? path : below, SOCK_STREAM);
}

// Sockets without a file belong to the network, not to the file system.
static verdict abstract_socket(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *name = fact("HOST_ABSTRACT");
	memcpy(to.sun_path + 1, name, strlen(name));
	socklen_t size = (socklen_t)(sizeof to.sun_family + 1 + strlen(name));
	return judge("connected to an abstract socket", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, size));
}

const struct attack network_attacks[] = {
	{"crypto-sockets", crypto}, {"hypervisor-sockets", hypervisor}, {"device-events", device_events},
	{"rare-families", rare_families}, {"raw-socket", raw}, {"packet-socket", packets}, {"routes", routes},
	{"loopback", loopback}, {"metadata", metadata}, {"outside", outside}, {"containerd", containerd},
	{"abstract-socket", abstract_socket}, {NULL, NULL},
};
