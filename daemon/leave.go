package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the end.
const (
	// leaveWithin bounds the end of what the keeper runs, beside what a service
	// is given to end: the keeper itself kills a tree whose grace is over.
	leaveWithin = 15 * time.Second
	// killWithin bounds the end of what was killed. Only the kernel can hold it.
	killWithin = 5 * time.Second
)

// longestGrace is the longest time that f gives a service to end.
func longestGrace(f *config.File) (longest time.Duration) {
	for _, s := range f.Services {
		longest = max(longest, s.Stop.Grace.Std())
	}
	return longest
}

// endAll stops what the keeper still runs, services included if their agent
// could not, and forgets it. When that is not over in time it is killed: a
// process that no keeper knows belongs to nobody. A keeper that dies meanwhile
// is followed by one that knows what is left.
func endAll(ctx context.Context, d Dirs, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+leaveWithin)
	defer cancel()
	for {
		k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(d.Keeper(), "sock")})
		if err == nil {
			err = endSlots(ctx, d, k)
			died := k.Err() != nil
			_ = k.Close()
			if !died {
				return err
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stop what the keeper runs: %w", err)
		}
		pause(ctx, dialEvery)
	}
}

// endSlots is endAll with one keeper: the agent first, which would start things
// anew, then the addresses, then all others at once.
func endSlots(ctx context.Context, d Dirs, k *keeperclient.Client) error {
	if err := endOne(ctx, k, agentID); err != nil {
		return err
	}
	closeAddresses(ctx, d, k)
	slots, err := k.List(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("stop roles: %w", err)
	}
	var all sync.WaitGroup
	errs := make([]error, len(slots))
	for i, s := range slots {
		if s.ID != agentID {
			all.Go(func() { errs[i] = endOne(ctx, k, s.ID) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// closeAddresses has nobody new come: with the agent gone the keeper lets go of
// the sockets, and the proxy closes them. Where that cannot be had they close
// with the last of both, and who waits in a queue then is reset.
func closeAddresses(ctx context.Context, d Dirs, k *keeperclient.Client) {
	names, _ := k.ListFDs(ctx)
	closing := false
	for _, name := range names {
		if _, ok := bindOf(name); !ok {
			continue
		}
		if k.DropFD(ctx, name) != nil {
			return
		}
		closing = true
	}
	if closing {
		_ = (&proxy{client: proxyClient(d.proxy())}).unbind(ctx, true)
	}
}

// endOne stops id and forgets it, which the keeper does only when its tree is
// empty. Where that takes longer than ctx the tree is killed.
func endOne(ctx context.Context, k *keeperclient.Client, id string) error {
	const why = "backstay goes down"
	if err := k.Stop(ctx, id, why); keeperCode(err) != "" {
		return nil // there is none of it
	}
	err := forget(ctx, k, id)
	if ctx.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWithin)
	defer cancel()
	if err := k.Kill(ctx, id, why+", and it did not end in time", false); err != nil {
		return err //nolint:wrapcheck // it tells its story
	}
	return forget(ctx, k, id)
}

// forget has k forget id, as soon as nothing of it runs.
func forget(ctx context.Context, k *keeperclient.Client, id string) error {
	for {
		if err := k.Remove(ctx, id); keeperCode(err) != "not_stopped" {
			return err //nolint:wrapcheck // it tells its story
		}
		pause(ctx, dialEvery)
		if ctx.Err() != nil {
			return fmt.Errorf("stop %s: some of its processes have not ended: %w", id, ctx.Err())
		}
	}
}

// keeperCode is the code with which a keeper has refused, empty if it has not.
func keeperCode(err error) string {
	if m, ok := errors.AsType[*keeperwire.Msg](err); ok {
		return m.Code
	}
	return ""
}

// leave ends the roles and the keeper, when no service runs any more.
func leave(ctx context.Context, d Dirs) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	err := endKeeper(ctx, d)
	for _, name := range []string{"down", "config.json", "api.sock"} { // the next one begins with the file
		_ = os.RemoveAll(filepath.Join(d.Run, name))
	}
	return err
}

// endKeeper has the keeper leave, with nothing left for anybody to look after.
// One that has something left stays.
func endKeeper(ctx context.Context, d Dirs) error {
	k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(d.Keeper(), "sock")})
	if err != nil {
		return fmt.Errorf("stop roles: %w", err)
	}
	defer func() { _ = k.Close() }()
	err = endSlots(ctx, d, k)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWithin) // some may be gone by now
	defer cancel()
	slots, listErr := k.List(ctx)
	if left := errors.Join(listErr, stillThere(slots)); left != nil {
		return errors.Join(err, left)
	}
	if leaveErr := k.Leave(ctx); leaveErr != nil {
		return errors.Join(err, leaveErr)
	}
	select { // it has said that it goes; now it has gone
	case <-k.Done():
	case <-ctx.Done():
	}
	return err
}

// stillThere says what of slots has processes.
func stillThere(slots []keeperwire.Slot) error {
	var left []string
	for _, s := range slots {
		if s.PID > 0 || slices.Contains([]keeperwire.State{keeperwire.Starting, keeperwire.Running, keeperwire.Stopping}, s.State) {
			left = append(left, s.ID)
		}
	}
	if left == nil {
		return nil
	}
	return fmt.Errorf("processes of %s have not ended though they were killed; their keeper stays until another `backstay up` takes it over", strings.Join(left, ", "))
}
