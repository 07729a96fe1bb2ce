// Command backstay keeps services answering while anything beneath them fails or
// changes. See the pages under docs, or run it with --help.
package main

import (
	"os"

	"github.com/backstay/backstay/cli"
)

func main() { os.Exit(cli.Main()) }
