package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain runs an odd service where a node has started this binary as one.
func TestMain(m *testing.M) {
	services := map[string]func([]string) error{"odd": runOdd, "tree": runTree}
	if len(os.Args) > 1 && services[os.Args[1]] != nil {
		if err := services[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

// odd answers like the shop, and misbehaves as told: by the file of flags of its
// version, and while it runs by files in the same directory named after its
// version or its instance: .ill is not ready, .die dies, .deaf listens no more.
type odd struct {
	listen, version, dir string
	readyAfter           time.Duration
	flap                 time.Duration // readiness turns so often
	dieNth               int           // that process of this version dies, so long after it was ready
	dieAfter             time.Duration
	ignoreTerm           bool

	instance  string
	began     time.Time
	mayDie    bool         // this process is the one of dieNth
	readySeen atomic.Int64 // when /healthz first said yes
	book      *os.File
	server    http.Server
	listener  net.Listener
}

func runOdd(args []string) error {
	o := &odd{began: time.Now(), instance: os.Getenv("BACKSTAY_INSTANCE")}
	fs := flag.NewFlagSet("odd", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", "", "")
	fs.StringVar(&o.version, "version", "", "")
	fs.StringVar(&o.dir, "dir", "", "")
	fs.DurationVar(&o.readyAfter, "ready-after", 0, "")
	fs.DurationVar(&o.flap, "flap", 0, "")
	fs.IntVar(&o.dieNth, "die-nth", 0, "")
	fs.DurationVar(&o.dieAfter, "die-after", time.Hour, "")
	fs.BoolVar(&o.ignoreTerm, "ignore-term", false, "")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	more, err := os.ReadFile(filepath.Join(o.dir, o.version+".flags"))
	if err == nil {
		err = fs.Parse(strings.Fields(string(more)))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read file of flags: %w", err)
	}
	n, err := o.count()
	if err != nil {
		return err
	}
	o.mayDie = o.dieNth == 0 || n == o.dieNth
	return o.run()
}

// count returns the number of this process among those of its version.
func (o *odd) count() (int, error) {
	f, err := os.OpenFile(filepath.Join(o.dir, o.version+".count"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o666)
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString("x"); err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	all, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	return len(all), err
}

func (o *odd) run() (err error) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if o.book, err = os.OpenFile(filepath.Join(o.dir, "orders"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666); err != nil {
		return fmt.Errorf("open book: %w", err)
	}
	if o.listener, err = net.Listen("tcp", o.listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	o.server.Handler = http.HandlerFunc(o.serve)
	go func() { _ = o.server.Serve(o.listener) }()
	for {
		select {
		case <-term:
			if !o.ignoreTerm {
				return nil // at once, whatever is in hand
			}
			fmt.Println("SIGTERM, and it is ignored")
		case <-time.After(10 * time.Millisecond):
		}
		if o.told("deaf") {
			_ = o.listener.Close()
		}
		if o.told("die") || o.mayDie && o.readyFor() > o.dieAfter {
			return errors.New("odd: dying as told")
		}
	}
}

func (o *odd) readyFor() time.Duration {
	if at := o.readySeen.Load(); at > 0 {
		return time.Since(time.Unix(0, at))
	}
	return 0
}

func (o *odd) told(what string) bool {
	for _, name := range []string{o.version, o.instance} {
		if _, err := os.Stat(filepath.Join(o.dir, name+"."+what)); err == nil {
			return true
		}
	}
	return false
}

func (o *odd) ready() bool {
	up := time.Since(o.began)
	ready := up >= o.readyAfter && !o.told("ill") && (o.flap == 0 || int(up/o.flap)%2 == 0)
	if ready {
		o.readySeen.CompareAndSwap(0, time.Now().UnixNano())
	}
	return ready
}

func (o *odd) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		if !o.ready() {
			http.Error(w, "ill", http.StatusServiceUnavailable)
		}
		return
	}
	status, order := http.StatusOK, ""
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64))
		if err != nil {
			return
		}
		status, order = http.StatusCreated, string(body)
		fmt.Fprintf(o.book, "%s %s %s\n", order, o.version, o.instance)
	}
	o.work(r.Context(), r.URL.Query().Get("work"))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"version": o.version, "instance": o.instance, "digest": digestOf(r.URL.Query().Get("n")), "order": order,
	})
}

func (o *odd) work(ctx context.Context, text string) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
