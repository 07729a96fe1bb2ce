package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) why() *cobra.Command {
	return &cobra.Command{
		Use: "why KIND/NAME", Short: "the shortest proof of a state, and what would change it", GroupID: groupLook, Args: takes("KIND/NAME"),
		Long: "Says what a thing is, since when, by which fact, and what would change it. KIND is service, instance,\n" +
			"frontend, deploy, release or role; a bare name will do, and so will the beginning of an instance's.",
		Example: "  backstay why service/shop\n  backstay why shop-7f3a9c\n  backstay why deploy/shop\n  backstay why shop@14",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.client().Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(p, func(w io.Writer) error {
				_, err := fmt.Fprint(w, p)
				return err
			})
		},
	}
}
