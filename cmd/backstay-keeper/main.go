// backstay-keeper is the parent of everything that Backstay runs, and the stage
// between clone and exec of each. It is carried inside backstay, which starts it;
// by hand it is
//
//	backstay-keeper run DIR     keep what DIR says until told to leave
//	backstay-keeper version     print the version of its protocol
package main

import (
	"os"
	"strconv"

	"github.com/backstay/backstay/host/proc/keeper"
)

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "stage":
		if link, err := strconv.Atoi(args[1]); err == nil {
			keeper.Stage(link)
		}
		usage()
	case len(args) == 2 && args[0] == "run":
		if err := keeper.Run(args[1]); err != nil {
			_, _ = os.Stderr.WriteString("backstay-keeper: " + err.Error() + "\n")
			os.Exit(1)
		}
	case len(args) == 1 && args[0] == "version":
		_, _ = os.Stdout.WriteString(keeper.Version() + "\n")
	default:
		usage()
	}
}

func usage() {
	_, _ = os.Stderr.WriteString("usage: backstay-keeper run DIR | version\n")
	os.Exit(2)
}
