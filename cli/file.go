package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
)

// maxStdin is as much of a file as is read from a pipe: one byte more than config
// takes, which then says so.
const maxStdin = 1<<20 + 1

// readFile returns the text of what a command is about, and how it is called; -
// is stdin.
func (a *app) readFile(args []string) (name string, text []byte, err error) {
	name = fileArg(args)
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(a.In, maxStdin))
		return "stdin", text, unreadable("stdin", err)
	}
	if text, err = config.Read(name); err != nil {
		return name, nil, unreadable(name, err)
	}
	if abs, err := filepath.Abs(name); err == nil {
		name = abs // the agent has another working directory
	}
	return name, text, nil
}

// unreadable returns why a file cannot be read, and what to do.
func unreadable(name string, err error) error {
	if err == nil {
		return nil
	}
	do := "name a file that can be read"
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == defaultFile:
		do = "name the file, or write " + defaultFile
	case errors.Is(err, fs.ErrNotExist):
		do = "correct the path"
	case errors.Is(err, fs.ErrPermission):
		do = "run the command as a user that may read it"
	}
	why := err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		why = path.Err
	}
	return &backstay.Problem{Code: "file_unreadable", What: "the file cannot be read", Where: plainText(name), Why: why.Error(), Do: do}
}

// summary says what a good file asks for.
func summary(f *config.File) string {
	return fmt.Sprintf("%s, %s", count(len(f.Services), "service"), count(len(f.Frontends), "frontend"))
}
