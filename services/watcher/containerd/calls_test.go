package containerd

import (
	"context"
	"slices"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// shimTask is a task as a containerd with shims answers for it.
type shimTask struct {
	api.TasksClient
	there, runs bool
	// endsBy is the call before which it ends by itself.
	endsBy string
	stuck  bool
	calls  []string
}

func (s *shimTask) called(name string) error {
	s.calls = append(s.calls, name)
	if s.endsBy == name {
		s.runs = false
	}
	if !s.there {
		return status.Error(codes.NotFound, "no such task")
	}
	return nil
}

func (s *shimTask) Delete(context.Context, *api.DeleteTaskRequest, ...grpc.CallOption) (*api.DeleteResponse, error) {
	if err := s.called("delete"); err != nil {
		return nil, err
	}
	if s.runs {
		return nil, status.Error(codes.Unknown, "cannot delete a running process")
	}
	s.there = false
	return &api.DeleteResponse{}, nil
}

func (s *shimTask) Kill(_ context.Context, r *api.KillRequest, _ ...grpc.CallOption) (*types.Empty, error) {
	if err := s.called("kill"); err != nil {
		return nil, err
	}
	if !s.runs {
		return nil, status.Error(codes.NotFound, "process already finished")
	}
	s.runs = s.stuck || r.Signal != 9 || !r.All
	return &types.Empty{}, nil
}

func (s *shimTask) Wait(context.Context, *api.WaitRequest, ...grpc.CallOption) (*api.WaitResponse, error) {
	return &api.WaitResponse{}, s.called("wait")
}

func TestDeleteTaskOfAShim(t *testing.T) {
	for name, c := range map[string]struct {
		task  shimTask
		calls string
		fails string
	}{
		"it runs":                       {shimTask{there: true, runs: true}, "delete kill wait delete", ""},
		"it has ended":                  {shimTask{there: true}, "delete", ""},
		"it is not there":               {shimTask{}, "delete", ""},
		"it ends before it is killed":   {shimTask{there: true, runs: true, endsBy: "kill"}, "delete kill delete", ""},
		"it does not end when it is":    {shimTask{there: true, runs: true, stuck: true}, "delete kill wait delete", "running process"},
		"it ends only when it is asked": {shimTask{there: true, runs: true, stuck: true, endsBy: "wait"}, "delete kill wait delete", ""},
	} {
		t.Run(name, func(t *testing.T) {
			task := c.task
			fake, err := client.New("", client.WithServices(client.WithTaskClient(&task)))
			if err != nil {
				t.Fatal(err)
			}
			r := &Runtime{client: fake}
			err = r.deleteTask(t.Context(), "one")
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%v, want %q", err, c.fails)
			}
			if want := strings.Fields(c.calls); !slices.Equal(task.calls, want) {
				t.Errorf("calls %v, want %v", task.calls, want)
			}
		})
	}
}
