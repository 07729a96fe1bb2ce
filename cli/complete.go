package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
)

// completeWithin is how long a shell that completes a word waits for the agent:
// somebody has a finger on the key.
const completeWithin = 300 * time.Millisecond

// asked is one question of a shell: what may stand where word has begun.
type asked struct {
	ctx    context.Context //nolint:containedctx // it lives as long as the question
	client *client.Client
	args   []string // before word
	word   string
}

// complete has every command of root offer what there is. Where nobody answers
// nothing is offered, and nothing is said.
func (a *app) complete(root *cobra.Command) {
	service, both := named("service"), named("service", "instance")
	first := map[string]func(asked) []string{
		"why": refs, "events": refs, "logs": named("service", "instance", "role"),
		"deploy": service, "rollback": service, "releases": service, "history": service, "scale": service, "stop": service,
		"pause": service, "resume": service, "abort": service,
		"start": both, "restart": both, "drain": both, "undrain": both,
	}
	for _, cmd := range root.Commands() {
		switch offer := first[cmd.Name()]; {
		case offer != nil:
			cmd.ValidArgsFunction = a.argument(1, offer)
		case cmd.Name() == "diff":
			cmd.ValidArgsFunction = a.argument(2, sides)
		case strings.HasSuffix(cmd.Use, "[FILE]"):
			cmd.ValidArgsFunction = yamlFiles
		default:
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
		onFlag(cmd, "version", a.answer(versionsKept))
		onFlag(cmd, "to", a.answer(numbersKept))
		onFlag(cmd, "config", yamlFiles)
	}
	onFlag(root, "output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// onFlag has a flag of cmd completed, if it has it.
func onFlag(cmd *cobra.Command, name string, f cobra.CompletionFunc) {
	if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
		_ = cmd.RegisterFlagCompletionFunc(name, f) // it is there, and this is the first
	}
}

// argument offers something for the first most arguments.
func (a *app) argument(most int, offer func(asked) []string) cobra.CompletionFunc {
	return a.answer(func(q asked) []string {
		if len(q.args) >= most {
			return nil
		}
		return offer(q)
	})
}

// answer offers what fits of what the agent knows.
func (a *app) answer(offer func(asked) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) (fit []cobra.Completion, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		c := client.New(client.Options{Socket: a.dirs.API(), Wait: time.Nanosecond})
		for _, text := range offer(asked{ctx, c, args, word}) {
			if strings.HasPrefix(text, word) {
				fit = append(fit, text)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

// named offers the names of all things of some kinds, or kind/name to whoever
// has begun so.
func named(kinds ...string) func(asked) []string {
	return func(q asked) (all []string) {
		st, err := q.client.Status(q.ctx)
		if err != nil {
			return nil
		}
		for _, kind := range kinds {
			for _, name := range st.Names(kind) {
				if strings.Contains(q.word, "/") || kind == "deploy" {
					name = kind + "/" + name
				}
				all = append(all, name+"\t"+kind)
			}
		}
		return all
	}
}

// refs offers all that there is a proof of.
func refs(q asked) []string {
	if strings.Contains(q.word, "@") {
		return releases(q)
	}
	return named("service", "instance", "frontend", "role", "deploy")(q)
}

// sides offers what can be compared.
func sides(q asked) []string {
	all := append(releases(q), "running\tfile in force", "last_good\tfile that a boot would use", "file\tfile on disk")
	files, _ := q.client.Configs(q.ctx)
	for _, f := range files {
		all = append(all, f.Digest+"\t"+clock(f.At))
	}
	return all
}

// releases offers those of every service that word may begin.
func releases(q asked) (all []string) {
	st, err := q.client.Status(q.ctx)
	if err != nil {
		return nil
	}
	for _, name := range st.Names("service") {
		if strings.HasPrefix(name+"@", q.word) || strings.HasPrefix(q.word, name+"@") {
			for _, r := range kept(q, name) {
				all = append(all, r.ID+"\t"+releaseNote(r))
			}
		}
	}
	return all
}

// kept returns the releases of a service, none if they are not known.
func kept(q asked, service string) []api.Release {
	all, err := q.client.Releases(q.ctx, strings.TrimPrefix(service, "service/"))
	if err != nil {
		return nil
	}
	return all
}

// versionsKept offers those of the releases of the service that is named.
func versionsKept(q asked) (all []string) {
	if len(q.args) == 0 {
		return nil
	}
	known := map[string]bool{"": true}
	for _, r := range kept(q, q.args[0]) {
		if !known[r.Version] {
			known[r.Version] = true
			all = append(all, r.Version+"\t"+r.ID+" "+releaseNote(r))
		}
	}
	return all
}

// numbersKept offers the releases of the service that is named to go back to.
func numbersKept(q asked) (all []string) {
	if len(q.args) == 0 {
		return nil
	}
	for _, r := range kept(q, q.args[0]) {
		if !r.Current && r.NotRestorable == "" {
			all = append(all, strconv.Itoa(r.Seq)+"\t"+releaseNote(r))
		}
	}
	return all
}

// releaseNote says of a release what tells it from others.
func releaseNote(r api.Release) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", r.Version, words(api.DeployState(r.State()))))
}

// yamlFiles has the shell offer files.
func yamlFiles(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// commandNames offers the commands that help tells about.
func commandNames(cmd *cobra.Command, args []string, word string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	for _, c := range cmd.Root().Commands() {
		if !c.Hidden && len(args) == 0 && strings.HasPrefix(c.Name(), word) {
			all = append(all, cobra.CompletionWithDesc(c.Name(), c.Short))
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
