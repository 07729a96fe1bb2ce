package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// identity says which process answers.
type identity struct {
	Instance string `json:"instance"`
	Release  string `json:"release"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
}

func (i identity) String() string {
	return fmt.Sprintf("version %s, instance %s, pid %d", i.Version, i.Instance, i.PID)
}

// answer is the body of every good answer.
type answer struct {
	identity
	Digest string `json:"digest"`          // of the nonce of the request
	Order  string `json:"order,omitempty"` // that was written down
}

// digest proves that nonce was read: the same nonce gives the same digest in
// every release.
func digest(nonce string) string {
	sum := sha256.Sum256([]byte("shop " + nonce))
	return hex.EncodeToString(sum[:16])
}

// shop is what the handlers share; nothing in it changes.
type shop struct {
	who    identity
	out    *lines
	orders *orders
	opens  time.Time // from then on it is ready
}

func newShop(o options, out *lines) (*shop, error) {
	book, err := openOrders(o.data)
	return &shop{
		who: identity{
			Instance: cmp.Or(os.Getenv("BACKSTAY_INSTANCE"), "alone"),
			Release:  os.Getenv("BACKSTAY_RELEASE"),
			Version:  o.version,
			PID:      os.Getpid(),
		},
		out: out, orders: book, opens: time.Now().Add(o.readyAfter),
	}, err
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("GET /ws", s.echo)
	mux.HandleFunc("GET /healthz", s.ready)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// longestWork bounds what a request may ask for with ?work=.
const longestWork = time.Minute

// work takes as long as ?work=DURATION asks for, and reports whether somebody
// still waits for the answer.
func work(r *http.Request) bool {
	long, err := time.ParseDuration(r.URL.Query().Get("work"))
	if err != nil {
		return true
	}
	select {
	case <-time.After(min(long, longestWork)):
		return true
	case <-r.Context().Done():
		return false
	}
}

// page answers GET /?n=NONCE, after ?work=DURATION if that is asked for.
func (s *shop) page(w http.ResponseWriter, r *http.Request) {
	if !work(r) {
		return
	}
	nonce := r.URL.Query().Get("n")
	s.out.printf("GET / %s", nonce)
	s.reply(w, http.StatusOK, answer{identity: s.who, Digest: digest(nonce)})
}

// longestOrder is the most bytes that the id of an order has.
const longestOrder = 64

// order answers POST /orders?n=NONCE, whose body is the id of the order. With
// ?work=DURATION that comes when the order is written down, so that a client
// that is cut off meanwhile cannot know whether it is.
func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longestOrder))
	id := strings.TrimSpace(string(body))
	if err != nil || id == "" || strings.ContainsAny(id, " \n") {
		http.Error(w, "the body is to be the id of the order: 1 to 64 bytes without a space", http.StatusBadRequest)
		return
	}
	if err := s.orders.write(id, s.who); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !work(r) {
		return
	}
	s.out.printf("POST /orders %s", id)
	s.reply(w, http.StatusCreated, answer{identity: s.who, Digest: digest(r.URL.Query().Get("n")), Order: id})
}

func (s *shop) ready(w http.ResponseWriter, _ *http.Request) {
	if time.Now().Before(s.opens) {
		http.Error(w, "not open yet", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (s *shop) reply(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a)
}
