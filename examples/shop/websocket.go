package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opText  = 1
	opBin   = 2
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// longestMessage bounds one frame; a shop has little to say.
const longestMessage = 64 << 10

// echo upgrades to a WebSocket, says who it is in a first message and then
// sends back whatever comes.
func (s *shop) echo(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "this is a WebSocket (RFC 6455)", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	s.out.printf("GET /ws open")
	err = s.talk(rw, key)
	s.out.printf("GET /ws closed: %v", err)
}

func (s *shop) talk(rw *bufio.ReadWriter, key string) error {
	who, err := json.Marshal(s.who)
	if err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", accept(key))
	if err := writeFrame(rw.Writer, opText, who); err != nil {
		return err
	}
	for {
		op, payload, err := readFrame(rw.Reader)
		if err != nil {
			return err
		}
		switch op {
		case opText, opBin:
			err = writeFrame(rw.Writer, op, payload)
		case opPing:
			err = writeFrame(rw.Writer, opPong, payload)
		case opClose:
			return errors.Join(writeFrame(rw.Writer, opClose, payload), io.EOF)
		}
		if err != nil {
			return err
		}
	}
}

// accept proves to the client that its handshake was read: RFC 6455, 4.2.2.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readFrame reads one whole message; those in several frames are refused.
func readFrame(r io.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	if head[0]&0x80 == 0 || head[1]&0x80 == 0 {
		return 0, nil, errors.New("read frame: in several parts or not masked")
	}
	size, err := readSize(r, head[1]&0x7f)
	if err != nil {
		return 0, nil, err
	}
	masked := make([]byte, 4+size)
	if _, err := io.ReadFull(r, masked); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	mask, payload := masked[:4], masked[4:]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0xf, payload, nil
}

// readSize reads the longer forms of a length that short may announce.
func readSize(r io.Reader, short byte) (int, error) {
	var wide [8]byte
	switch short {
	case 126:
		_, err := io.ReadFull(r, wide[6:])
		if err != nil {
			return 0, fmt.Errorf("read frame: %w", err)
		}
	case 127:
		return 0, fmt.Errorf("read frame: longer than %d bytes", longestMessage)
	default:
		return int(short), nil
	}
	return int(binary.BigEndian.Uint64(wide[:])), nil
}

// writeFrame sends one unmasked frame, as servers do.
func writeFrame(w *bufio.Writer, op byte, payload []byte) error {
	head := []byte{0x80 | op}
	if len(payload) < 126 {
		head = append(head, byte(len(payload)))
	} else {
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(len(payload)))
	}
	_, _ = w.Write(append(head, payload...))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}
