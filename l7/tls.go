package l7

import (
	"crypto/tls"
	"crypto/x509"
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
func compileTLS(s *Snapshot, t *TLS) *tls.Config {
	book := &certBook{exact: map[string][]*tls.Certificate{}, below: map[string][]*tls.Certificate{}}
	for _, files := range t.Certs {
		if cert, err := s.certificate(files); err == nil {
			book.add(cert)
		}
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: book.pick}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// certificate returns the certificate and key of files.
func (s *Snapshot) certificate(files CertFiles) (*tls.Certificate, error) {
	for i := range s.Certs {
		if s.Certs[i].CertFiles == files {
			cert, err := tls.X509KeyPair(s.Certs[i].Chain, s.Certs[i].PEM)
			if err == nil && cert.Leaf == nil {
				cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
			}
			return &cert, err
		}
	}
	return nil, errNoCert
}

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
			if f := p.table.Load().binds[bind]; f != nil && f.tls != nil {
				return f.tls, nil
			}
			return nil, errNoCert
		}}
		p.secure[bind] = c
	}
	return c
}
