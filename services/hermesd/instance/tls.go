package instance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
)

// Certificate is what clients are shown.
type Certificate struct {
	natsconf.TLS
	// SelfSigned: no authority vouches for it, so that clients need the file, or its fingerprint.
	SelfSigned  bool
	Fingerprint string
	leaf        *x509.Certificate
}

// LoadCertificate reads an operator's certificate and its key, and sees whether they fit.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s: %w", certFile, keyFile, err)
	}
	certFile, certErr := filepath.Abs(certFile)
	keyFile, keyErr := filepath.Abs(keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(pair.Leaf.Raw)
	return &Certificate{
		TLS: natsconf.TLS{CertFile: certFile, KeyFile: keyFile}, Fingerprint: "sha256:" + hex.EncodeToString(sum[:]), leaf: pair.Leaf,
	}, nil
}

// SelfSigned reads the certificate of the folder, or makes one: for this machine's name and addresses
// and the host that is listened on.
func SelfSigned(dir, host string) (*Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		if err := makeCertificate(dir, certFile, keyFile, namesHere(host)); err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
	}
	c, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.SelfSigned = true
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return c, nil
	}
	if err := c.leaf.VerifyHostname(host); err != nil {
		return nil, fmt.Errorf("the certificate %s was made before this host was listened on (%w): remove it to have another one made, which users have to trust anew", certFile, err)
	}
	return c, nil
}

// certificateYears: a certificate that is trusted by its fingerprint gains nothing by ending soon.
const certificateYears = 10

func makeCertificate(dir, certFile, keyFile string, names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hermesd"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(certificateYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	// The certificate last: where it is, the key is too.
	err = os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600)
	if err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
}

// namesHere are the names by which this machine may be reached.
func namesHere(host string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		names = append(names, host)
	}
	addresses, _ := net.InterfaceAddrs() // none known is none to name
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && !network.IP.IsLinkLocalUnicast() {
			names = append(names, network.IP.String())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// url is where programs on this machine connect: by a name that the certificate is for.
func (c *Certificate) url(host, port string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if c == nil {
		return "nats://" + net.JoinHostPort(host, port)
	}
	if c.leaf.VerifyHostname(host) != nil && len(c.leaf.DNSNames) > 0 {
		host = c.leaf.DNSNames[0]
	}
	return "tls://" + net.JoinHostPort(host, port)
}

// ca is the file that vouches for the certificate; empty if the system's do.
func (c *Certificate) ca() string {
	if c == nil || !c.SelfSigned {
		return ""
	}
	return c.CertFile
}
