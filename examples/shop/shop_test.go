package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// open serves a shop with o and returns its address and what it prints.
func open(t *testing.T, o options) (string, *bytes.Buffer) {
	t.Helper()
	var printed bytes.Buffer
	s, err := newShop(o, &lines{to: &printed})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.routes())
	t.Cleanup(server.Close)
	return server.URL, &printed
}

func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestAnAnswerSaysWhoGaveItAndWhatItAnswers(t *testing.T) {
	t.Setenv("BACKSTAY_INSTANCE", "shop-1c44d0")
	t.Setenv("BACKSTAY_RELEASE", "shop@2")
	url, printed := open(t, options{version: "v2"})
	status, body := do(t, "GET", url+"/?n=abc", "")
	var got answer
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("%d %q: %v", status, body, err)
	}
	want := answer{identity: identity{"shop-1c44d0", "shop@2", "v2", os.Getpid()}, Digest: digest("abc")}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if digest("abc") == digest("abd") {
		t.Error("two nonces have one digest")
	}
	if want := fmt.Sprintf("%d 1 GET / abc\n", os.Getpid()); printed.String() != want {
		t.Errorf("printed %q, want %q", printed, want)
	}
}

func TestAnOrderIsWrittenBeforeItIsConfirmed(t *testing.T) {
	dir := t.TempDir()
	url, _ := open(t, options{version: "v1", data: dir})
	for i := range 20 {
		id := fmt.Sprintf("order-%d", i)
		status, body := do(t, "POST", url+"/orders", id)
		if status != 201 || !strings.Contains(body, `"order":"`+id+`"`) {
			t.Fatalf("%d %s", status, body)
		}
		text, _ := os.ReadFile(filepath.Join(dir, "orders"))
		if strings.Count(string(text), id+" v1 ") != 1 {
			t.Fatalf("%s is not there once:\n%s", id, text)
		}
	}
}

func TestOrdersOfManyShopsDoNotMix(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for shop := range 4 {
		book, err := openOrders(dir)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i := range 500 {
				if err := book.write(fmt.Sprintf("%d-%d", shop, i), identity{Version: "v1", Instance: "a"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	text, _ := os.ReadFile(filepath.Join(dir, "orders"))
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		seen[line]++
	}
	if len(seen) != 2000 {
		t.Errorf("%d lines are different, want 2000", len(seen))
	}
}

func TestABadOrderIsRefused(t *testing.T) {
	url, _ := open(t, options{data: t.TempDir()})
	for _, id := range []string{"", "a b", strings.Repeat("x", longestOrder+1)} {
		if status, _ := do(t, "POST", url+"/orders", id); status != 400 {
			t.Errorf("%q: %d, want 400", id, status)
		}
	}
	without, _ := open(t, options{})
	if status, body := do(t, "POST", without+"/orders", "1"); status != 500 || !strings.Contains(body, "--data") {
		t.Errorf("without a directory: %d %s", status, body)
	}
}

func TestItIsNotReadyBeforeItOpens(t *testing.T) {
	url, _ := open(t, options{readyAfter: time.Hour})
	if status, _ := do(t, "GET", url+"/healthz", ""); status != 503 {
		t.Errorf("healthz: %d, want 503", status)
	}
	if status, _ := do(t, "GET", url+"/livez", ""); status != 200 {
		t.Errorf("livez: %d, want 200", status)
	}
	opened, _ := open(t, options{})
	if status, _ := do(t, "GET", opened+"/healthz", ""); status != 200 {
		t.Errorf("healthz when open: %d, want 200", status)
	}
}

// mask makes a frame as clients send it.
func mask(op byte, payload string) []byte {
	var frame bytes.Buffer
	w := bufio.NewWriter(&frame)
	_ = writeFrame(w, op, []byte(payload))
	b := frame.Bytes()
	head := len(b) - len(payload)
	b[1] |= 0x80
	key := []byte{1, 2, 3, 4}
	out := append(append(append([]byte{}, b[:head]...), key...), b[head:]...)
	for i := range payload {
		out[head+4+i] ^= key[i%4]
	}
	return out
}

func TestAWebSocketGreetsAndEchoes(t *testing.T) {
	url, _ := open(t, options{version: "v1"})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The key and the answer to it of RFC 6455, section 1.3.
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v %+v", err, resp)
	}
	expect := func(op byte, payload string) {
		t.Helper()
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		size := int(head[1])
		if size == 126 {
			wide := make([]byte, 2)
			_, _ = io.ReadFull(r, wide)
			size = int(wide[0])<<8 | int(wide[1])
		}
		got := make([]byte, size)
		_, _ = io.ReadFull(r, got)
		if head[0] != 0x80|op || payload != "" && string(got) != payload {
			t.Fatalf("frame %x %q, want %x %q", head[0], got, 0x80|op, payload)
		}
	}
	expect(opText, "") // the greeting
	for _, payload := range []string{"hello", strings.Repeat("x", 125), strings.Repeat("y", 126), strings.Repeat("z", 60000)} {
		_, _ = c.Write(mask(opText, payload))
		expect(opText, payload)
	}
	_, _ = c.Write(mask(opPing, "ping"))
	expect(opPong, "ping")
	_, _ = c.Write(mask(opClose, "\x03\xe8"))
	expect(opClose, "\x03\xe8")
	if n, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the close: %d bytes, %v", n, err)
	}
}

func TestABadFrameIsRefused(t *testing.T) {
	for name, frame := range map[string][]byte{
		"not masked":   {0x81, 1, 'x'},
		"in parts":     {0x01, 0x81, 1, 2, 3, 4, 'x'},
		"far too long": {0x81, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"cut short":    {0x81, 0x85, 1, 2},
		"empty":        {},
	} {
		if _, _, err := readFrame(bytes.NewReader(frame)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestTheCommandLineWinsOverTheFileBesideTheProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "shop")
	if err := os.WriteFile(program+".flags", []byte("--die-after 1.5s\n--version=v3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{program, "--listen", ":1", "--version", "v4"}, io.Discard)
	if err != nil || o.dieAfter != 1500*time.Millisecond || o.version != "v4" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, argv := range [][]string{{program}, {program, "--listen", ":1", "more"}, {program, "--nonsense"}} {
		if _, err := parse(argv, io.Discard); err == nil {
			t.Errorf("%v was taken", argv)
		}
	}
}

func TestLinesAreNumberedInOrder(t *testing.T) {
	var printed bytes.Buffer
	l := &lines{to: &printed}
	stop := l.chatter(1_000_000)
	for l.count() < 1000 {
		l.printf("said beside")
	}
	stop()
	n := 0
	for line := range strings.Lines(printed.String()) {
		n++
		if !strings.HasPrefix(line, fmt.Sprintf("%d %d ", os.Getpid(), n)) {
			t.Fatalf("line %d is %q", n, line)
		}
	}
	if n < 1000 {
		t.Errorf("%d lines", n)
	}
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// hang only ends a test that would never end.
const hang = time.Minute

func hanging(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}
