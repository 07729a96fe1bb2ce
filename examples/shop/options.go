package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// options are what the command line and the file of flags say.
type options struct {
	listen     string
	data       string
	version    string
	graceful   bool
	dieAfter   time.Duration
	readyAfter time.Duration
	chatter    int
}

// parse reads argv, its program name included, after the flags in the file
// beside the program; the command line wins.
func parse(argv []string, talk io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("shop", flag.ContinueOnError)
	fs.SetOutput(talk)
	fs.StringVar(&o.listen, "listen", "", "`ADDRESS:PORT` to serve on")
	fs.StringVar(&o.data, "data", "", "`directory` of the file of orders; without it there are none")
	fs.StringVar(&o.version, "version", os.Getenv("BACKSTAY_VERSION"), "what to call this version in answers")
	fs.BoolVar(&o.graceful, "graceful", false, "finish what is in hand when told to end")
	fs.DurationVar(&o.dieAfter, "die-after", 0, "die like a broken release, so long after the start")
	fs.DurationVar(&o.readyAfter, "ready-after", 0, "say no on /healthz, so long after the start")
	fs.IntVar(&o.chatter, "chatter", 0, "print so many lines a second")
	beside, err := flagsFile(argv[0] + ".flags")
	if err != nil {
		return options{}, err
	}
	if err := fs.Parse(append(beside, argv[1:]...)); err != nil {
		return options{}, err
	}
	switch {
	case fs.NArg() > 0:
		return options{}, fmt.Errorf("read command line: %q is no flag", fs.Arg(0))
	case o.listen == "":
		return options{}, errors.New("read command line: --listen is missing, as in --listen 127.0.0.1:8080")
	}
	return o, nil
}

// flagsFile returns the lines of the file at path that are not empty; none if
// there is no such file.
func flagsFile(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	return strings.Fields(string(text)), nil
}
