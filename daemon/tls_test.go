package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/l7"
)

// makeCert returns a certificate of that number and its key.
func makeCert(t *testing.T, serial int64) (chain, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "shop.test"}, DNSNames: []string{"shop.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (n *node) served(port int) int64 {
	n.Helper()
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, ServerName: "shop.test"}) //nolint:gosec // a test's own
	must(n, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// A certificate that is being replaced is not taken before its key fits, not by
// an agent that begins at that moment either, and status says so meanwhile.
func TestCertificateIsTakenWhenItsKeyFits(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := newNode(t)
	chain, key := makeCert(t, 1)
	must(t, os.WriteFile(n.dir+"/c.pem", chain, 0o600))
	must(t, os.WriteFile(n.dir+"/k.pem", key, 0o600))
	n.write(strings.Replace(shopFile(port, ""), "routes:", "tls: { certs: [{ cert: DIR/c.pem, key: DIR/k.pem }] }, routes:", 1))
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 2)
	chain, key = makeCert(t, 2)
	must(t, os.WriteFile(n.dir+"/c.pem", chain, 0o600))
	n.kill("agent")
	n.until("a word on the certificate", func(s api.Status) bool { return len(s.Problems) == 1 && s.Problems[0].Where == n.dir+"/c.pem" })
	if got := n.served(port); got != 1 {
		t.Fatalf("certificate %d is served, want the old one", got)
	}
	proof, err := n.client.Why(t.Context(), "frontend/web")
	if err != nil || !strings.Contains(proof.String(), n.dir+"/c.pem") {
		t.Errorf("why says nothing of the certificate: %v, %v", proof, err)
	}
	must(t, os.WriteFile(n.dir+"/k.pem", key, 0o600))
	n.until("no problem", func(s api.Status) bool { return len(s.Problems) == 0 })
	for until := time.Now().Add(hang); n.served(port) != 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the new certificate is not served")
		}
	}
	if s, err := os.Stat(n.opt.Dirs.proxy() + "/snapshot.json"); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("the snapshot holds keys: %v, %v", s, err)
	}
}

// One certificate that cannot be read keeps no other from being renewed, and
// without an old one there is an error.
func TestCertificatesAreReadOneByOne(t *testing.T) {
	dir := t.TempDir()
	text := "schema: 1\nfrontends:\n  web:\n    bind: [\":8443\"]\n    routes: [{ respond: { status: 200 } }]\n    tls: { certs: ["
	old := &l7.Snapshot{}
	for i, name := range []string{"a", "b"} {
		chain, key := makeCert(t, int64(i+1))
		files := l7.CertFiles{Cert: dir + "/" + name + ".pem", Key: dir + "/" + name + ".key"}
		must(t, os.WriteFile(files.Cert, chain, 0o600))
		must(t, os.WriteFile(files.Key, key, 0o600))
		old.Certs = append(old.Certs, l7.Certificate{CertFiles: files, Chain: chain, PEM: key})
		text += fmt.Sprintf("{ cert: %s, key: %s }, ", files.Cert, files.Key)
	}
	f, err := config.ParseIn(nil, "x.yaml", []byte(text+"] }\n"))
	must(t, err)
	must(t, os.Remove(dir+"/a.pem"))
	chain, key := makeCert(t, 3)
	must(t, os.WriteFile(dir+"/b.pem", chain, 0o600))
	must(t, os.WriteFile(dir+"/b.key", key, 0o600))
	o, lost, err := readOrders(f, old)
	must(t, err)
	if len(lost) != 1 || lost[dir+"/a.pem"] == nil || string(o.certs[0].Chain) != string(old.Certs[0].Chain) || string(o.certs[1].Chain) != string(chain) {
		t.Errorf("lost %v", lost)
	}
	if _, _, err := readOrders(f, nil); err == nil {
		t.Error("a certificate that is not there is no error")
	}
}
