package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// appMode is the first argument that makes this program the one under load: a
// server that knows of nothing, takes its time for each request and ends at
// once when told to.
const appMode = "app"

// Time limits of the app.
const (
	appHead    = 10 * time.Second
	longestJob = time.Minute
)

// appMain serves until it is killed or told to end, and returns the status.
func appMain(args []string) int {
	fs := flag.NewFlagSet(appMode, flag.ContinueOnError)
	listen := fs.String("listen", "", "`ADDRESS:PORT`")
	name := fs.String("name", "", "what each answer says first")
	startup := fs.Duration("startup", 0, "until it listens")
	work := fs.Duration("work", 0, "of each request")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	time.Sleep(min(*startup, longestJob))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { appAnswer(w, r, *name, *work) })
	s := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: appHead}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "app:", err)
	}
	return 1
}

// appAnswer says who answers, and nothing if the client has gone.
func appAnswer(w http.ResponseWriter, r *http.Request, name string, work time.Duration) {
	_, _ = io.Copy(io.Discard, r.Body)
	if work > 0 {
		select {
		case <-time.After(work):
		case <-r.Context().Done():
			return
		}
	}
	_, _ = fmt.Fprintf(w, "%s %d\n", name, os.Getpid())
}
