package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nearest"
)

// flagProblem says what is wrong with a flag.
func flagProblem(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var needs *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &unknown):
		name := dashed(unknown.GetSpecifiedName())
		return &backstay.Problem{
			Code: "unknown_flag", What: cmd.CommandPath() + " has no flag " + quoted(name), Where: quotedShort(name),
			Do: suggestFlag(unknown.GetSpecifiedName(), cmd),
		}
	case errors.As(err, &needs):
		name := dashed(needs.GetFlag().Name)
		return &backstay.Problem{Code: "missing_flag_value", What: name + " needs a value", Where: name, Do: name + ": " + needs.GetFlag().Usage}
	case errors.As(err, &bad):
		name := dashed(bad.GetFlag().Name)
		return &backstay.Problem{
			Code: "bad_flag_value", What: quoted(bad.GetValue()) + " does not do for " + name, Where: name,
			Why: reason(bad.Unwrap()), Do: name + ": " + bad.GetFlag().Usage,
		}
	default:
		return &backstay.Problem{Code: "unknown_flag", What: "a flag cannot be read", Why: reason(err), Do: cmd.CommandPath() + " --help lists them"}
	}
}

// suggestFlag asks whether the nearest flag was meant, as it is typed, and says
// where all are.
func suggestFlag(name string, cmd *cobra.Command) string {
	all := cmd.CommandPath() + " --help lists them"
	if near := nearest.Of(name, flagNames(cmd)); near != "" {
		return "did you mean " + dashed(near) + "? " + all
	}
	return all
}

// reason returns err without the quotes and line breaks of whoever typed it.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if _, why, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "strconv.") {
		text = why
	}
	return plainText(text)
}

// dashed returns how a flag is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// takes returns a check that there is one argument for each of names. Those in
// brackets may be left out.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		for i, name := range names {
			if i >= len(args) && !strings.HasPrefix(name, "[") {
				return &backstay.Problem{
					Code: "missing_argument", What: cmd.CommandPath() + " needs " + name, Where: cmd.CommandPath(),
					Do: "write " + cmd.UseLine(),
				}
			}
			if i < len(args) && args[i] == "" {
				return &backstay.Problem{Code: "bad_argument", What: strings.Trim(name, "[]") + " is empty", Where: cmd.CommandPath(), Do: "write " + cmd.UseLine()}
			}
		}
		if len(args) > len(names) {
			return &backstay.Problem{
				Code: "extra_argument", What: quoted(args[len(names)]) + " is one argument too many", Where: cmd.CommandPath(),
				Do: "write " + cmd.UseLine(),
			}
		}
		return nil
	}
}

// serviceName checks that an argument can be the name of a service.
func serviceName(arg string) (string, error) {
	name := strings.TrimPrefix(arg, "service/")
	if !backstay.ValidName(name) {
		return "", &backstay.Problem{
			Code: "bad_argument", What: quoted(arg) + " cannot be the name of a service", Where: quotedShort(arg),
			Do: "use the name as backstay status shows it: a-z, 0-9 and -",
		}
	}
	return name, nil
}

// exclude says that two flags cannot be used together, if both are set.
func exclude(cmd *cobra.Command, a, b string) error {
	if !cmd.Flags().Changed(a) || !cmd.Flags().Changed(b) {
		return nil
	}
	return &backstay.Problem{
		Code: "flags_conflict", What: "--" + a + " and --" + b + " exclude each other", Where: "--" + b, Do: "leave one of them out",
	}
}

// empty refuses a flag that was given nothing: in a script that is a variable
// that was never set, and what would follow is not what it is about.
func empty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.String() == "" && err == nil {
			err = &backstay.Problem{Code: "missing_flag_value", What: dashed(f.Name) + " has an empty value", Where: dashed(f.Name), Do: "write one, or leave it out; " + dashed(f.Name) + ": " + f.Usage}
		}
	})
	return err
}

// durationFlag is a duration as the file writes them, 7d included.
type durationFlag struct {
	backstay.Duration

	text string // as it was typed
}

// Set implements [pflag.Value].
func (d *durationFlag) Set(s string) error {
	d.text = s
	if s == "" {
		return nil // [empty] refuses it, in the words for every flag
	}
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return errors.New("write the unit, as in 30s or 5m")
	}
	return nil
}

// String implements [pflag.Value]: empty only if nothing was given, see [empty].
func (d *durationFlag) String() string { return d.text }

// Type implements [pflag.Value].
func (*durationFlag) Type() string { return "duration" }

// maxShown is how much of what was typed is shown again.
const maxShown = 60

// quoted returns what was typed, cut and harmless to a terminal, in quotes.
func quoted(s string) string { return `"` + quotedShort(s) + `"` }

func quotedShort(s string) string {
	r := []rune(plainText(s))
	if len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return string(r)
}

// plainText returns s without what would drive a terminal.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) && r != ' ' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// number reads an argument that is a count.
func number(what, arg string, limit int) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 || n > limit {
		return 0, &backstay.Problem{
			Code: "bad_argument", What: quoted(arg) + " is not a number of " + what, Where: quotedShort(arg),
			Do: fmt.Sprintf("write a number from 0 to %d", limit),
		}
	}
	return n, nil
}
