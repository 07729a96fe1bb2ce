package api

import (
	"context"
	"net"
	"strconv"

	"github.com/backstay/backstay"
)

type actorKey struct{}

// peer is who is at the other end of a connection, or why that is not known.
type peer struct {
	actor Actor
	err   error
}

// connContext finds out once for each connection who is at its other end.
func (o Options) connContext(ctx context.Context, c net.Conn) context.Context {
	if wrapped, ok := c.(*plainConn); ok {
		c = wrapped.Conn
	}
	var p peer
	if p.actor, p.err = o.Peer(c); p.err == nil && p.actor.Name == "" {
		p.actor.Name = strconv.FormatUint(uint64(p.actor.UID), 10)
	}
	return context.WithValue(ctx, actorKey{}, p)
}

// actor returns who asks.
func (c *call) actor() (Actor, error) {
	p, known := c.r.Context().Value(actorKey{}).(peer)
	if !known || p.err != nil {
		why := "this is no Unix socket"
		if p.err != nil {
			why = p.err.Error()
		}
		return Actor{}, &backstay.Problem{Code: "denied", What: "it is not known who asks", Why: why, Do: "use the socket of the agent"}
	}
	return p.actor, nil
}

// ownerOnly lets root and the user that the agent runs as pass.
func (s *server) ownerOnly(c *call) error {
	a, err := c.actor()
	if err != nil || a.UID == 0 || a.UID == s.Owner {
		return err
	}
	return &backstay.Problem{
		Code: "denied", What: "user " + a.Name + " may not change the file", Why: "a file can run anything as anybody",
		Do: "run the command as root, or as the user that the agent runs as",
	}
}
