package daemon

import (
	"crypto/tls"
	"fmt"
	"os"
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

// readOrders makes orders of f.
func readOrders(f *config.File) (orders, error) {
	o := orders{frontends: map[string]l7.Frontend{}, pools: map[string]backstay.Pool{}, pages: map[string][]byte{}}
	for name, s := range f.Services {
		o.pools[name] = s.Traffic
	}
	for name, front := range f.Frontends {
		front.Routes = slices.Clone(front.Routes)
		for i := range front.Routes {
			if err := o.route(f, &front.Routes[i]); err != nil {
				return o, fmt.Errorf("frontend %s: %w", name, err)
			}
		}
		if err := o.certificates(front.TLS); err != nil {
			return o, fmt.Errorf("frontend %s: %w", name, err)
		}
		o.frontends[name] = front
	}
	return o, nil
}

// route names the port that r leads to and reads its page.
func (o *orders) route(f *config.File, r *l7.Route) error {
	if r.To != "" {
		port, ok := f.PortOf(r.To, backstay.PortRef(r.Port))
		if !ok {
			return fmt.Errorf("service %s has no port %q", r.To, r.Port)
		}
		r.Port = port
	}
	if r.Respond == nil || r.Respond.File == "" || o.pages[r.Respond.File] != nil {
		return nil
	}
	page, err := os.ReadFile(r.Respond.File)
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	o.pages[r.Respond.File] = page
	return nil
}

func (o *orders) certificates(t *l7.TLS) error {
	if t == nil {
		return nil
	}
	for _, files := range t.Certs {
		if slices.ContainsFunc(o.certs, func(c l7.Certificate) bool { return c.CertFiles == files }) {
			continue
		}
		chain, err := os.ReadFile(files.Cert)
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		key, err := os.ReadFile(files.Key)
		if err != nil {
			return fmt.Errorf("read key: %w", err)
		}
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			return fmt.Errorf("certificate %s: %w", files.Cert, err)
		}
		o.certs = append(o.certs, l7.Certificate{CertFiles: files, Chain: chain, PEM: key})
	}
	return nil
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
