package l7

import (
	"github.com/backstay/backstay"
)

// Snapshot is all that a proxy needs to serve: whole, and replaced as a whole.
// It crosses a socket and a file as JSON, and it holds private keys.
type Snapshot struct {
	Backstay  string              `json:"backstay"` // "l7 snapshot"
	V         int                 `json:"v"`        // [SnapshotVersion]
	Gen       uint64              `json:"gen"`      // grows with every snapshot of one agent's state directory
	Frontends map[string]Frontend `json:"frontends"`
	Certs     []Certificate       `json:"certs,omitempty"` // by CertFiles, contents read by the agent
	Pages     map[string][]byte   `json:"pages,omitempty"` // contents of Respond.File, by path
	Pools     map[string]Pool     `json:"pools"`           // by service
}

// SnapshotVersion is that of the newest [Snapshot] here. A proxy takes it and
// the one before.
const SnapshotVersion = 1

// Certificate is the contents of a [CertFiles].
type Certificate struct {
	CertFiles

	Chain []byte `json:"chain"` // PEM
	PEM   []byte `json:"pem"`   // the private key
}

// Pool is the servers of one service and how they are used.
type Pool struct {
	backstay.Pool

	Servers []Server `json:"servers"`
}

// Server is an instance as a proxy sees it. Only those with Ready and without
// Drain take new requests.
type Server struct {
	ID      string            `json:"id"`      // instance: shop-7f3a9c
	Release string            `json:"release"` // shop@14
	Address string            `json:"address"` // 127.0.0.1
	Ports   map[string]uint16 `json:"ports"`   // by name
	Ready   bool              `json:"ready"`
	Drain   bool              `json:"drain"`  // takes no new request, finishes what it has
	Starts  int               `json:"starts"` // a higher one clears its ejection
}
