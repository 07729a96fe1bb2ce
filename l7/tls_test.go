package l7_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/l7"
)

// certificate makes one for names; its serial number tells it from others.
func certificate(t *testing.T, serial int64, file string, names ...string) l7.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificateOf(t, key, serial, file, names...)
}

func certificateOf(t *testing.T, key crypto.Signer, serial int64, file string, names ...string) l7.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return l7.Certificate{
		CertFiles: l7.CertFiles{Cert: file + ".pem", Key: file + ".key"},
		Chain:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		PEM:       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func secure(certs ...l7.Certificate) func(*l7.Snapshot) {
	return func(s *l7.Snapshot) {
		s.Certs = certs
		web(s, func(f *l7.Frontend) {
			f.TLS = &l7.TLS{MinVersion: "1.2"}
			for _, c := range certs {
				f.TLS.Certs = append(f.TLS.Certs, c.CertFiles)
			}
		})
	}
}

// dialTLS returns a connection that asked for name.
func (r *rig) dialTLS(name string, maxVersion uint16) (*wire, int64, error) {
	r.tb.Helper()
	c, err := tls.Dial("tcp", r.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: maxVersion})
	if err != nil {
		return nil, 0, err
	}
	r.tb.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(hang))
	return &wire{tb: r.tb, Conn: c, in: bufio.NewReader(c)}, c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestTheNameAskedForPicksTheCertificate(t *testing.T) {
	r := newRig(t, secure(
		certificate(t, 1, "a", "a.example", "www.a.example"),
		certificate(t, 2, "wild", "*.b.example"),
		certificate(t, 3, "x", "x.b.example"),
	), serveHTTP(t, named("a")))
	for name, want := range map[string]int64{
		"a.example": 1, "WWW.a.example": 1, "y.b.example": 2, "x.b.example": 3, "unknown.example": 1, "z.y.b.example": 1, "": 1,
	} {
		w, serial, err := r.dialTLS(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if serial != want {
			t.Errorf("%q: certificate %d, want %d", name, serial, want)
		}
		w.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if _, body := w.answer("GET"); body != "a" {
			t.Errorf("%q: %q", name, body)
		}
		w.ended()
	}
}

// Of two certificates for one name each client gets the one that it can use.
func TestOldClientsGetTheRSACertificateBesideTheOther(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, secure(
		certificate(t, 1, "ecdsa", "a.example"), certificateOf(t, key, 2, "rsa", "a.example"),
	), serveHTTP(t, named("a")))
	for suite, want := range map[uint16]int64{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 2, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 1,
	} {
		c, err := tls.Dial("tcp", r.addr, &tls.Config{
			ServerName: "a.example", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
		})
		if err != nil {
			t.Fatalf("%s: %v", tls.CipherSuiteName(suite), err)
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("%s: certificate %d, want %d", tls.CipherSuiteName(suite), got, want)
		}
		c.Close()
	}
}

func TestCertificatesAreSwappedUnderOpenConnections(t *testing.T) {
	r := newRig(t, secure(certificate(t, 1, "a", "a.example")), serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	}))
	old, serial, err := r.dialTLS("a.example", 0)
	if err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
	r.snap.Certs = []l7.Certificate{certificate(t, 2, "a", "a.example")}
	web(&r.snap, func(f *l7.Frontend) { f.TLS = &l7.TLS{MinVersion: "1.3", Certs: f.TLS.Certs} })
	r.apply()
	if _, serial, err := r.dialTLS("a.example", 0); err != nil || serial != 2 {
		t.Errorf("the next handshake got %d %v", serial, err)
	}
	if _, _, err := r.dialTLS("a.example", tls.VersionTLS12); err == nil {
		t.Error("TLS 1.2 is still spoken")
	}
	old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := old.answer("GET"); body != "https" || resp.Close {
		t.Errorf("the open connection got %q, close %v", body, resp.Close)
	}
}

func TestACertificateStaysGoodHoweverOftenItComesAndNeverWithoutItsKey(t *testing.T) {
	r := newRig(t, secure(certificate(t, 1, "a", "a.example")), serveHTTP(t, named("a")))
	for range 3 {
		r.apply()
		if _, serial, err := r.dialTLS("a.example", 0); err != nil || serial != 1 {
			t.Errorf("got %d %v", serial, err)
		}
	}
	s := r.clone()
	s.Gen, s.Certs = 99, []l7.Certificate{{CertFiles: s.Certs[0].CertFiles, Chain: s.Certs[0].Chain}}
	if err := r.proxy.Apply(t.Context(), s); err == nil {
		t.Error("a chain without its key was taken, because the two had been seen together")
	}
}

func TestWhoForgetsTLSIsToldSo(t *testing.T) {
	r := newRig(t, secure(certificate(t, 1, "a", "a.example")), serveHTTP(t, named("a")))
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 400 {
		t.Errorf("got %s", resp.Status)
	}
}

func TestAHandshakeThatTakesForEverIsEnded(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		secure(certificate(t, 1, "a", "a.example"))(s)
		web(s, func(f *l7.Frontend) { f.Timeout.Header = short })
	}, serveHTTP(t, named("a")))
	r.raw().ended()
	eventually(t, "it has left", func() bool { return r.proxy.Stats().Conns == 0 })
}

func TestUpgradesPassThroughTLS(t *testing.T) {
	r := newRig(t, secure(certificate(t, 1, "a", "a.example")), echoServer(t, "a").addr)
	w, _, err := r.dialTLS("a.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	w.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if resp, err := http.ReadResponse(w.in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	w.send("hello\n")
	w.echo("hello")
}

func TestAKeyThatDoesNotFitChangesNothing(t *testing.T) {
	a, b := certificate(t, 1, "a", "a.example"), certificate(t, 2, "b", "b.example")
	r := newRig(t, secure(a), serveHTTP(t, named("a")))
	s := r.clone()
	s.Gen++
	a.PEM = b.PEM
	s.Certs = []l7.Certificate{a}
	err := r.proxy.Apply(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "a.pem") {
		t.Errorf("got %v", err)
	}
	if _, serial, err := r.dialTLS("a.example", 0); err != nil || serial != 1 {
		t.Errorf("then %d %v", serial, err)
	}
}
