// Package keeperclient is the agent's end of the wire to the keeper.
package keeperclient
