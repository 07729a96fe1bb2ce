package l7

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"strings"
)

// certBook finds the certificate for a name that a client asks for.
type certBook struct {
	exact map[string][]*tls.Certificate
	below map[string][]*tls.Certificate // by what follows the first label
	first *tls.Certificate
}

// compileTLS makes the TLS side of a front. Its snapshot has been checked, so
// keys fit their certificates.
func compileTLS(s *Snapshot, t *TLS, read certReader) *tls.Config {
	book := &certBook{exact: map[string][]*tls.Certificate{}, below: map[string][]*tls.Certificate{}}
	for _, files := range t.Certs {
		if cert, err := s.certificate(files, read); err == nil {
			book.add(cert)
		}
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1", "http/1.0"}, GetCertificate: book.pick}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// certificate returns the certificate and key of files.
func (s *Snapshot) certificate(files CertFiles, read certReader) (*tls.Certificate, error) {
	for i := range s.Certs {
		if s.Certs[i].CertFiles == files {
			return read(&s.Certs[i])
		}
	}
	return nil, errNoCert
}

// certReader makes a certificate of its PEM and refuses a key that does not fit.
type certReader func(*Certificate) (*tls.Certificate, error)

func readCert(c *Certificate) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(c.Chain, c.PEM)
	if err == nil && cert.Leaf == nil {
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	return &cert, err
}

// certShelf has the certificates of the snapshot in force, by a hash of chain and
// key: each change of an instance brings all of them again, and checking a key
// takes a millisecond. Whoever holds p.applying has it.
type certShelf struct {
	has, used map[[sha256.Size]byte]*tls.Certificate
}

// read is a [certReader].
func (b *certShelf) read(c *Certificate) (*tls.Certificate, error) {
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(c.Chain)))) // a hash takes all
	_, _ = h.Write(c.Chain)
	_, _ = h.Write(c.PEM)
	key := [sha256.Size]byte(h.Sum(nil))
	cert := b.has[key]
	if cert == nil {
		var err error
		if cert, err = readCert(c); err != nil {
			return nil, err
		}
	}
	b.used[key] = cert
	return cert, nil
}

// begin starts on a snapshot, keep makes its certificates the ones that are had.
func (b *certShelf) begin() { b.used = map[[sha256.Size]byte]*tls.Certificate{} }
func (b *certShelf) keep()  { b.has = b.used }

func (b *certBook) add(c *tls.Certificate) {
	if b.first == nil {
		b.first = c
	}
	names := c.Leaf.DNSNames
	if len(names) == 0 && len(c.Leaf.IPAddresses) == 0 {
		names = []string{c.Leaf.Subject.CommonName}
	}
	for _, name := range names {
		name = strings.ToLower(name)
		if suffix, ok := strings.CutPrefix(name, "*."); ok {
			b.below[suffix] = append(b.below[suffix], c)
		} else {
			b.exact[name] = append(b.exact[name], c)
		}
	}
}

// pick returns the certificate for what the client asks for: by name, then by
// wildcard, then the first of the file. Of several for one name it is the first
// that the client can use: ECDSA beside RSA.
func (b *certBook) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	list := b.exact[name]
	if len(list) == 0 {
		_, suffix, _ := strings.Cut(name, ".")
		list = b.below[suffix]
	}
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if len(list) > 0 {
		return list[0], nil
	}
	return b.first, nil
}

// liveTLS is the TLS side of a listening address: each handshake sees the
// certificates in force. It lives as long as the address, and with it the keys
// of session tickets.
func (p *Proxy) liveTLS(bind string) *tls.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.secure[bind]
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if f := p.table.Load().at(bind); f != nil && f.tls != nil {
				return f.tls, nil
			}
			return nil, errNoCert
		}}
		p.secure[bind] = c
	}
	return c
}
