// Command client is the grpc-go client of the interoperability tests; ../checks.py says what it is told and answers.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// More than any check takes; none waits for it.
const hangs = 30 * time.Second

var (
	address     = flag.String("address", "", "host:port or unix:/path")
	ca          = flag.String("ca", "", "PEM file of the authority that the server's certificate is from; none: no TLS")
	certificate = flag.String("certificate", "", "PEM file of the client's certificate")
	key         = flag.String("key", "", "PEM file of its key")
)

// A check returns what was wrong.
type check func(ctx context.Context, connection *grpc.ClientConn) error

var checks = map[string]check{
	"process":           process,
	"streams":           streams,
	"message_1_mib":     func(ctx context.Context, c *grpc.ClientConn) error { return echo(ctx, c, 1<<20) },
	"message_10_mib":    func(ctx context.Context, c *grpc.ClientConn) error { return echo(ctx, c, 10<<20) },
	"message_too_large": messageTooLarge,
	"gzip":              compressed,
	"deadline":          deadline,
	"cancel":            cancel,
	"chain":             chain,
	"unknown_method": func(ctx context.Context, c *grpc.ClientConn) error {
		return unknown(ctx, c, externalProcessor+"/Proces")
	},
	"unknown_service": func(ctx context.Context, c *grpc.ClientConn) error {
		return unknown(ctx, c, "/no.such.Service/Process")
	},
	"error_text":         errorText,
	"health_check":       healthCheck,
	"health_list":        healthList,
	"reflection_v1":      reflectionV1,
	"reflection_v1alpha": reflectionV1Alpha,
	"keepalive":          keptAlive,
	"drain":              drain,
	"restart":            restart,
}

func main() {
	flag.Parse()
	var alone []string
	var waiting sync.WaitGroup
	for _, name := range flag.Args() {
		if name != "keepalive" {
			alone = append(alone, name)
			continue
		}
		// It takes its time; the others run beside it.
		waiting.Go(func() { run(name) })
	}
	for _, name := range alone {
		run(name)
	}
	waiting.Wait()
}

func run(name string) {
	ctx, stop := context.WithTimeout(context.Background(), hangs)
	defer stop()
	err := fmt.Errorf("this client has no such check")
	if checks[name] != nil {
		var connection *grpc.ClientConn
		if connection, err = connect(); err == nil {
			err = checks[name](ctx, connection)
			connection.Close()
		}
	}
	answer := map[string]any{"check": name, "ok": err == nil, "detail": ""}
	if err != nil {
		answer["detail"] = err.Error()
	}
	say(answer)
}

func connect(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if *ca != "" {
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs.AppendCertsFromPEM(pem)
		if *certificate != "" {
			pair, err := tls.LoadX509KeyPair(*certificate, *key)
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport = credentials.NewTLS(config)
	}
	options = append(options, grpc.WithTransportCredentials(transport))
	return grpc.NewClient(*address, options...)
}

// grpc-go pings no more often than this.
func pinging() grpc.DialOption {
	return grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true})
}

var (
	saying sync.Mutex
	lines  = bufio.NewScanner(os.Stdin)
)

func say(answer any) {
	line, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	saying.Lock()
	defer saying.Unlock()
	fmt.Println(string(line))
}

// note tells something that is no error.
func note(what string) { say(map[string]string{"note": what}) }

// ask has something done to the server, and waits until it was.
func ask(what string) {
	say(map[string]string{"ask": what})
	lines.Scan()
}
