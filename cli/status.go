package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// watchEvery is how often status --watch looks: people see no more.
const watchEvery = time.Second

func (a *app) status() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "what is: one screen, read and never guessed", GroupID: groupLook, Args: takes(),
		Long: "Shows what runs, what is ready, what takes traffic, what was changed by hand and what\n" +
			"does not work here. The exit status is 4 if something is not as it should be.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(cmd.Context())
			}
			st, err := a.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.print(st, func(w io.Writer) error { return a.writeStatus(w, st) }); err != nil {
				return err
			}
			return leave(verdict(st).exit)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every second")
	return cmd
}

func (a *app) writeStatus(w io.Writer, st api.Status) error {
	_, err := io.WriteString(w, renderStatus(st, a.style()))
	return err
}

// watchStatus shows the status again and again until ctx is done. The agent may
// come and go.
func (a *app) watchStatus(ctx context.Context) error {
	c := a.client()
	for {
		st, err := c.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // ^C ends it
		case err != nil && a.output != "table":
			return err
		case err != nil:
			a.tell(err)
		default:
			if err := a.frame(st); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// frame shows one status of many: over the last one on a terminal, else below it.
func (a *app) frame(st api.Status) error {
	text := renderStatus(st, a.style())
	if a.Terminal && a.output == "table" {
		text = "\x1b[H\x1b[2J" + fit(text, a.columns(), a.rows()) // top left, clear
	}
	return a.item(st, text)
}

// judged is what a status comes to.
type judged struct {
	text string
	exit backstay.ExitCode
}

// verdict is the sentence that is read in an outage.
func verdict(st api.Status) judged {
	if st.AllDown() {
		return judged{downText(st), backstay.ExitOK}
	}
	ill := append(append(illServices(st), illFrontends(st)...), illRoles(st)...)
	switch {
	case len(ill) > 0:
		return judged{fmt.Sprintf("%s not as it should be: %s", count(len(ill), "thing"), listed(ill)), backstay.ExitDegraded}
	case st.Config.Refused != nil || len(st.Problems) > 0:
		return judged{"everything runs, but see the problems below", backstay.ExitDegraded}
	case len(st.Services) == 0:
		return judged{"nothing is asked for: no services", backstay.ExitOK}
	default:
		return judged{wellText(st), backstay.ExitOK}
	}
}

// wellText says what is well, and what goes on.
func wellText(st api.Status) string {
	ready, wanted := 0, 0
	var stopped, moving []string
	for _, s := range st.Services {
		if s.Stopped {
			stopped = append(stopped, s.Name)
			continue
		}
		if s.Deploy != nil && !s.Deploy.State.Ended() {
			moving = append(moving, s.Name)
		}
		ready, wanted = ready+s.Ready(), wanted+s.Replicas
	}
	text := fmt.Sprintf("all is well: %s, %d of %s ready", count(len(st.Services), "service"), ready, count(wanted, "instance"))
	if moving != nil {
		text += "; being deployed: " + listed(moving)
	}
	if stopped != nil {
		text += "; stopped on purpose: " + listed(stopped)
	}
	if st.Down != nil {
		text += "; down by " + st.Down.By + " goes on, until backstay apply, for what was not started since"
	}
	return text
}

func illServices(st api.Status) (ill []string) {
	for _, s := range st.Services {
		if !s.Well() {
			ill = append(ill, "service/"+s.Name)
			continue
		}
		for _, i := range s.Instances {
			if ejected(st, i) {
				ill = append(ill, "instance/"+i.ID+" (ejected)")
			}
		}
	}
	return ill
}

// ejected reports whether real requests keep i out of traffic now.
func ejected(st api.Status, i api.Instance) bool {
	return i.Server != nil && i.Server.Ejected != nil && i.Server.Ejected.Until.After(st.At)
}

func downText(st api.Status) string {
	text := "everything is being stopped"
	if st.Down.Done {
		text = "everything is stopped"
	}
	return text + ", by " + st.Down.By + " at " + clock(st.Down.Since) + "; backstay start NAME or backstay apply ends it"
}

func illFrontends(st api.Status) (ill []string) {
	for _, f := range st.Frontends {
		for _, b := range f.Binds {
			if !b.Listens() {
				ill = append(ill, "frontend/"+f.Name)
				break
			}
		}
	}
	return ill
}

func illRoles(st api.Status) (ill []string) {
	for _, r := range st.Roles {
		if !r.Running || st.Silent(r) {
			ill = append(ill, "role/"+r.Name)
		}
	}
	return ill
}

// maxListed is how many names fit into one line.
const maxListed = 4

func listed(names []string) string {
	text := ""
	for i, n := range names {
		if i == maxListed {
			return fmt.Sprintf("%s and %d more", text, len(names)-maxListed)
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}

// clock is how times are shown.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05") }
