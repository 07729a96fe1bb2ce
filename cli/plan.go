package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (a *app) plan() *cobra.Command {
	return &cobra.Command{
		Use: "plan [FILE]", Short: "what apply would change, and what requests would notice", GroupID: groupFile, Args: takes("[FILE]"),
		Long: "Compares FILE with the file in force and says what apply would do, key by key. It changes nothing.\n" +
			"Without an agent it compares with the last good file of the state directory. The exit status is 3\nif it would do anything.",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, text, err := a.readFile(args)
			if err != nil {
				return err
			}
			p, err := a.client().Plan(cmd.Context(), name, text)
			var none *backstay.Problem
			if errors.As(err, &none) && none.Code == "no_agent" {
				p, err = a.planAlone(name, text)
			}
			if err != nil {
				return err
			}
			if err := a.print(p, func(w io.Writer) error { return writePlan(w, p) }); err != nil {
				return err
			}
			if len(p.Changes)+len(p.Also) > 0 {
				return leave(backstay.ExitChanges)
			}
			return nil
		},
	}
}

func writePlan(w io.Writer, p api.Plan) error {
	if err := writePlanned(w, p); err != nil {
		return err
	}
	for _, n := range p.Notes {
		if _, err := fmt.Fprintln(w, "note: "+plainText(n)); err != nil {
			return err
		}
	}
	return nil
}

// writePlanned writes what changes, and the overrides that are in force.
func writePlanned(w io.Writer, p api.Plan) error {
	if len(p.Changes) == 0 && len(p.Also) == 0 {
		if _, err := fmt.Fprintf(w, "no changes: config %s\n", p.To); err != nil {
			return err
		}
	} else if err := writeChanges(w, p.Changes, "no request notices"); err != nil {
		return err
	}
	for _, text := range p.Also {
		if _, err := fmt.Fprintln(w, "also  "+plainText(text)); err != nil {
			return err
		}
	}
	return writeOverrides(w, p.Overrides)
}

func writeOverrides(w io.Writer, all []api.Override) error {
	for _, o := range all {
		if _, err := fmt.Fprintln(w, overrideText(o)); err != nil {
			return err
		}
	}
	return nil
}

// overrideText says what becomes of an override.
func overrideText(o api.Override) string {
	if o.Ends() {
		return fmt.Sprintf("override ends: %s %s %s by %s; the file says the same", o.Ref, o.What, o.Value, o.By)
	}
	return fmt.Sprintf("override stays: %s %s, by %s; %s ends it", o.Ref, o, o.By, o.Ending)
}

// writeChanges writes one line for each change, with what requests notice of it;
// none is what stands there if they do not.
func writeChanges(w io.Writer, changes []api.Change, none string) error {
	var rows []string
	for _, c := range changes {
		notice := c.Traffic
		if notice == "" {
			notice = none
		}
		if c.Overruled != "" {
			notice += ": " + plainText(c.Overruled)
		}
		rows = append(rows, row(c.Tag, plainText(c.Text), notice, c.Where))
	}
	return columns(w, rows...)
}
