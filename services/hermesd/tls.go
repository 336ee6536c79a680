package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// tlsFlags say how clients are protected from whoever is on the way.
type tlsFlags struct {
	cert, key            string
	selfSigned, insecure bool
}

func (t *tlsFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.cert, "tls-cert", "", "`file` with the server's certificate, and those behind it")
	f.StringVar(&t.key, "tls-key", "", "`file` with the certificate's key")
	f.BoolVar(&t.selfSigned, "tls-self-signed", false, "make a certificate, once, that users trust by its fingerprint")
	f.BoolVar(&t.insecure, "insecure", false, "listen off loopback without TLS: whoever is on the way reads passwords and can act as anybody")
}

// certificate loads or makes it, and refuses to listen off loopback without one. dir keeps one that
// was made.
func (t *tlsFlags) certificate(listen, dir string) (*instance.Certificate, error) {
	host, err := t.check(listen)
	switch {
	case err != nil:
		return nil, err
	case t.cert != "":
		return instance.LoadCertificate(t.cert, t.key)
	case t.selfSigned:
		return instance.SelfSigned(dir, host)
	}
	return nil, nil
}

// check is what can be said before anything is touched. It returns the host to listen on.
func (t *tlsFlags) check(listen string) (host string, err error) {
	switch {
	case (t.cert == "") != (t.key == ""):
		return "", errors.New("--tls-cert and --tls-key are given together")
	case t.cert != "" && t.selfSigned:
		return "", errors.New("--tls-self-signed and --tls-cert exclude each other")
	}
	return checkListen(listen, t.insecure || t.selfSigned || t.cert != "")
}

// checkListen returns the host. Off loopback it wants to be allowed.
func checkListen(listen string, anywhere bool) (host string, err error) {
	host, _, err = net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--listen %q: must be host:port, such as %s", listen, defaultListen)
	}
	if ip := net.ParseIP(host); anywhere || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback() {
		return host, nil
	}
	return "", fmt.Errorf("--listen %s: off loopback the traffic has to be encrypted: give --tls-self-signed, or --tls-cert and --tls-key; --insecure goes on without", listen)
}
