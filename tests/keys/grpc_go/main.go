// A SPIFFE agent on grpc-go, which SPIRE's agent is built on: sends the file's content, an encoded X509SVIDResponse, when
// a stream opens and to every open stream for each line read. Ends with its input.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Messages are encoded already.
type encoded struct{}

func (encoded) Marshal(message interface{}) ([]byte, error) { return *(message.(*[]byte)), nil }
func (encoded) Unmarshal(data []byte, message interface{}) error {
	*(message.(*[]byte)) = data
	return nil
}
func (encoded) String() string { return "proto" }

type agent struct {
	file    string
	lock    sync.Mutex
	changed chan struct{}
}

func (agent *agent) next() chan struct{} {
	agent.lock.Lock()
	defer agent.lock.Unlock()
	return agent.changed
}

func (agent *agent) rotate() {
	agent.lock.Lock()
	defer agent.lock.Unlock()
	close(agent.changed)
	agent.changed = make(chan struct{})
}

func (agent *agent) fetch(_ interface{}, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	sent, _ := metadata.FromIncomingContext(stream.Context())
	if header := sent["workload.spiffe.io"]; len(header) != 1 || header[0] != "true" || len(request) != 0 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		changed := agent.next()
		response, err := os.ReadFile(agent.file)
		if err != nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.SendMsg(&response); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func main() {
	// What a predecessor left.
	_ = os.Remove(os.Args[1])
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	agent := &agent{file: os.Args[2], changed: make(chan struct{})}
	server := grpc.NewServer(grpc.CustomCodec(encoded{}))
	method := grpc.StreamDesc{StreamName: "FetchX509SVID", ServerStreams: true, Handler: agent.fetch}
	service := grpc.ServiceDesc{
		ServiceName: "SpiffeWorkloadAPI",
		HandlerType: (*interface{})(nil),
		Streams:     []grpc.StreamDesc{method},
	}
	server.RegisterService(&service, agent)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			agent.rotate()
		}
		os.Exit(0)
	}()
	fmt.Println("listening")
	panic(server.Serve(listener))
}
