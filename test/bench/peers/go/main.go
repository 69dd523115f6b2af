// Command go is an ext_proc server as one writes it in Go for speed: grpc-go, the messages of go-control-plane,
// one goroutine a stream.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

const (
	maxMessage = 64 << 20
	// The windows that Envoy gives too, so that bodies do not wait for WINDOW_UPDATE.
	streamWindow     = 16 << 20
	connectionWindow = 24 << 20
	// The heap is small: at Go's 100 % the collector would run hundreds of times a second.
	gcPercent = 400
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "listen on `ADDR`: host:port or unix:/path")
	threads := flag.Int("threads", 0, "run Go code on so many threads; 0: one a core")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(flag.CommandLine.Output(), "go: unexpected argument %q\n", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	if *threads > 0 {
		runtime.GOMAXPROCS(*threads)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := serve(*address); err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	listener, err := listen(address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
	)
	extproc.RegisterExternalProcessorServer(server, newProcessor())

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		server.Stop()
	}()
	fmt.Printf("listening on %s\n", name(listener.Addr()))
	if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func listen(address string) (net.Listener, error) {
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", address)
}

func name(address net.Addr) string {
	if address.Network() == "unix" {
		return "unix:" + address.String()
	}
	return address.String()
}
