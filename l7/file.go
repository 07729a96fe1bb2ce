package l7

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/backstay/backstay/internal/atomicfile"
)

// ReadSnapshot reads what [WriteSnapshot] has written. It does not check it:
// [Proxy.Apply] does.
func ReadSnapshot(path string) (Snapshot, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot: %w", err)
	}
	s, err := DecodeSnapshot(text)
	if err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot %s: %w", path, err)
	}
	return s, nil
}

// DecodeSnapshot reads a snapshot from its JSON and refuses other kinds and
// other versions than this program knows, by name.
func DecodeSnapshot(text []byte) (Snapshot, error) {
	var head struct {
		Backstay string `json:"backstay"`
		V        int    `json:"v"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Snapshot{}, problem("snapshot_unreadable", "the snapshot is no JSON: "+err.Error(), "", "send what a Backstay of this version writes")
	}
	if err := checkVersion(head.Backstay, head.V); err != nil {
		return Snapshot{}, err
	}
	var s Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return Snapshot{}, problem("snapshot_unreadable", "the snapshot is not what it should be: "+err.Error(), "", "send what a Backstay of this version writes")
	}
	return s, nil
}

// WriteSnapshot replaces the file at path by s. It holds private keys, so it is
// for its owner only.
func WriteSnapshot(path string, s Snapshot) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := atomicfile.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Redacted returns s without the private keys.
func (s Snapshot) Redacted() Snapshot {
	certs := make([]Certificate, len(s.Certs))
	for i, c := range s.Certs {
		certs[i] = Certificate{CertFiles: c.CertFiles, Chain: c.Chain}
	}
	s.Certs = certs
	return s
}
