package instance_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// everywhereAndOnACluster runs a test on three servers, too: the services are connected to the first, users
// to the last. A cluster takes some seconds, so it is for tests of what servers must tell one another.
func everywhereAndOnACluster(t *testing.T, test func(t *testing.T, open func(*testing.T) place)) {
	t.Helper()
	everywhere(t, test)
	t.Run("cluster", func(t *testing.T) {
		if testing.Short() {
			t.Skip("starts a cluster")
		}
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
		test(t, clustered)
	})
}

// clustered is an instance on a cluster that an operator has made of nats.conf.
func clustered(t *testing.T) place {
	t.Helper()
	dir, log := t.TempDir(), &safeLog{}
	p := place{
		keys: filepath.Join(dir, "keys"), conf: filepath.Join(dir, "nats.conf"),
		names: map[string]string{"user": "user-ana", "watcher": "watcher-local"}, log: log,
	}
	_, err := instance.WriteNATSFiles(instance.NATSFiles{
		Dir: dir, Listen: "127.0.0.1:4222", StoreDir: filepath.Join(dir, "jetstream"), Sync: "1m", Watchers: []string{"local"}, Users: []string{"ana"},
	})
	if err != nil {
		t.Fatal(err)
	}
	servers := startCluster(t, p.conf, dir)
	first := p
	first.url = servers[0].ClientURL()
	serveReplicated(t, first, dir, len(servers))
	p.url = servers[len(servers)-1].ClientURL()
	nc, _ := as(t, p, "user", api.InboxPrefix("ana"))
	eventually(t, "the services are known to the last server", func() bool {
		_, err := api.Call[api.Info](t.Context(), api.NewClient(nc, "ana"), api.OpInfo, api.InfoRequest{})
		_, listErr := api.Call[api.Functions](t.Context(), api.NewClient(nc, "ana"), api.OpFunctionList, api.FunctionList{})
		return err == nil && listErr == nil
	})
	return p
}

// startCluster starts three servers with the configuration, and what makes a cluster of them.
func startCluster(t *testing.T, conf, dir string) [3]*server.Server {
	t.Helper()
	var servers [3]*server.Server
	var routes []string
	for range servers {
		routes = append(routes, "nats://"+freeAddress(t))
	}
	for i := range servers {
		o, err := server.ProcessConfigFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(strings.TrimPrefix(routes[i], "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		o.ServerName, o.Port, o.StoreDir, o.NoSigs, o.NoLog = fmt.Sprint("node", i), -1, filepath.Join(dir, fmt.Sprint("jetstream", i)), true, true
		o.Cluster = server.ClusterOpts{Name: "test", Host: host}
		if _, err := fmt.Sscan(port, &o.Cluster.Port); err != nil {
			t.Fatal(err)
		}
		o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers[i] = s
	}
	eventually(t, "the cluster has a leader that all follow", func() bool {
		leads := false
		for _, s := range servers {
			if !s.ReadyForConnections(time.Second) || !s.JetStreamIsCurrent() {
				return false
			}
			leads = leads || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
		}
		return leads
	})
	return servers
}
