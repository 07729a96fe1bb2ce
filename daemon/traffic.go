package daemon

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/registry"
)

// orders are what the proxy is told beside where instances are: the frontends of
// the file in force with the contents of the files they name.
type orders struct {
	frontends map[string]l7.Frontend
	pools     map[string]backstay.Pool
	certs     []l7.Certificate
	pages     map[string][]byte
}

// readOrders makes orders of f. Where kept is given it stands for files that
// cannot be read any more, or do not fit together just now; lost says why, by
// file.
func readOrders(f *config.File, kept *l7.Snapshot) (o orders, lost map[string]error, err error) {
	r := orderReader{
		orders: orders{frontends: map[string]l7.Frontend{}, pools: map[string]backstay.Pool{}, pages: map[string][]byte{}},
		kept:   kept, lost: map[string]error{},
	}
	for name, s := range f.Services {
		r.pools[name] = s.Traffic
	}
	for _, name := range sortedKeys(f.Frontends) {
		front := f.Frontends[name]
		front.Routes = slices.Clone(front.Routes)
		for i := range front.Routes {
			if err := r.route(f, &front.Routes[i]); err != nil {
				return r.orders, r.lost, fmt.Errorf("frontend %s: %w", name, err)
			}
		}
		if err := r.certificates(front.TLS); err != nil {
			return r.orders, r.lost, fmt.Errorf("frontend %s: %w", name, err)
		}
		r.frontends[name] = front
	}
	return r.orders, r.lost, nil
}

// orderReader reads the files that a file names.
type orderReader struct {
	orders

	kept *l7.Snapshot
	lost map[string]error
}

// route names the port that t leads to and reads its page.
func (r *orderReader) route(f *config.File, t *l7.Route) error {
	if t.To != "" {
		port, ok := f.PortOf(t.To, backstay.PortRef(t.Port))
		if !ok {
			return fmt.Errorf("service %s has no port %q", t.To, t.Port)
		}
		t.Port = port
	}
	if t.Respond == nil || t.Respond.File == "" || r.pages[t.Respond.File] != nil {
		return nil
	}
	page, err := os.ReadFile(t.Respond.File)
	if err != nil {
		err = fmt.Errorf("read page: %w", err)
		old, ok := r.page(t.Respond.File)
		if !ok {
			return err
		}
		page, r.lost[t.Respond.File] = old, err
	}
	r.pages[t.Respond.File] = page
	return nil
}

func (r *orderReader) page(path string) (page []byte, ok bool) {
	if r.kept == nil {
		return nil, false
	}
	page, ok = r.kept.Pages[path]
	return page, ok
}

func (r *orderReader) certificates(t *l7.TLS) error {
	if t == nil {
		return nil
	}
	for _, files := range t.Certs {
		if certOf(r.certs, files) != nil {
			continue
		}
		c, err := readCertificate(files)
		if err != nil {
			var old *l7.Certificate
			if r.kept != nil {
				old = certOf(r.kept.Certs, files)
			}
			if old == nil {
				return err
			}
			c, r.lost[files.Cert] = *old, err
		}
		r.certs = append(r.certs, c)
	}
	return nil
}

func certOf(all []l7.Certificate, files l7.CertFiles) *l7.Certificate {
	i := slices.IndexFunc(all, func(c l7.Certificate) bool { return c.CertFiles == files })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// readCertificate reads a certificate with its key, which must fit: they are
// replaced one after the other.
func readCertificate(files l7.CertFiles) (l7.Certificate, error) {
	none := l7.Certificate{}
	chain, err := os.ReadFile(files.Cert)
	if err != nil {
		return none, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(files.Key)
	if err != nil {
		return none, fmt.Errorf("read key: %w", err)
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return none, fmt.Errorf("certificate %s with key %s: %w", files.Cert, files.Key, err)
	}
	return l7.Certificate{CertFiles: files, Chain: chain, PEM: key}, nil
}

// lastSnapshot is what the proxy was told last: it has what files held that may
// be gone now. It is empty where there is none.
func (a *agent) lastSnapshot() *l7.Snapshot {
	s, err := l7.ReadSnapshot(filepath.Join(a.Dirs.proxy(), "snapshot.json"))
	if err != nil {
		return &l7.Snapshot{}
	}
	return &s
}

// snapshot is o with the instances of s.
func (o *orders) snapshot(s registry.Snapshot, gen uint64) l7.Snapshot {
	out := l7.Snapshot{
		Backstay: "l7 snapshot", V: l7.SnapshotVersion, Gen: gen,
		Frontends: o.frontends, Certs: o.certs, Pages: o.pages, Pools: map[string]l7.Pool{},
	}
	for name, p := range o.pools {
		out.Pools[name] = l7.Pool{Pool: p}
	}
	for _, e := range s.Endpoints {
		p, ok := out.Pools[e.Service]
		if !ok {
			continue // of a service that has left the file, and is stopping
		}
		p.Servers = append(p.Servers, l7.Server{
			ID: e.Instance, Release: e.Release, Address: e.Address, Ports: e.Ports, Ready: e.Ready, Drain: e.Drain, Starts: e.Starts,
		})
		out.Pools[e.Service] = p
	}
	return out
}

// board holds the orders in force.
type board struct {
	mu  sync.Mutex // guards now
	now orders
}

func (b *board) set(o orders) { b.mu.Lock(); b.now = o; b.mu.Unlock() }

func (b *board) get() orders {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}
