// Migrate runs a whole migration: starts it, follows its progress, commits as soon as that would succeed, and shows
// every error.
//
//	go run ./examples/migrate [-source cluster0] [-destination cluster1] localhost:27183
//
// A server with TLS needs MONGOFERRY_TLS_CA_FILE, the PEM file of its authority, or MONGOFERRY_TLS=true for the well-known
// ones; MONGOFERRY_TLS_CERTIFICATE_KEY_FILE is the client's own certificate with its key, if the server wants one, and
// MONGOFERRY_AUTH_TOKEN_FILE the server's token.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	mongoferry "github.com/mongoferry/mongoferry/clients/go"
	mongoferryv1 "github.com/mongoferry/mongoferry/clients/go/mongoferry/v1"
)

func main() {
	source := flag.String("source", "cluster0", "the cluster to read")
	destination := flag.String("destination", "cluster1", "the cluster to write")
	flag.Parse()
	address := flag.Arg(0)
	if address == "" {
		address = "localhost:27183"
	}
	if err := migrate(context.Background(), address, *source, *destination); err != nil {
		show(err)
		os.Exit(1)
	}
}

func migrate(ctx context.Context, address, source, destination string) error {
	options, err := dialOptions()
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(address, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := mongoferryv1.NewSyncServiceClient(connection)
	if _, err := client.Start(ctx, &mongoferryv1.StartRequest{Source: source, Destination: destination}); err != nil {
		return err
	}
	fmt.Println("start: accepted")
	return followAndCommit(ctx, client)
}

// dialOptions are what the environment says of TLS and the token.
func dialOptions() ([]grpc.DialOption, error) {
	transport, err := transportCredentials()
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	secret, err := fileOf("MONGOFERRY_AUTH_TOKEN_FILE")
	if secret != nil {
		options = append(options, grpc.WithPerRPCCredentials(token(bytes.TrimSpace(secret))))
	}
	return options, err
}

func transportCredentials() (credentials.TransportCredentials, error) {
	authority, err := fileOf("MONGOFERRY_TLS_CA_FILE")
	if err != nil {
		return nil, err
	}
	own, err := fileOf("MONGOFERRY_TLS_CERTIFICATE_KEY_FILE")
	if err != nil {
		return nil, err
	}
	if authority == nil && own == nil && os.Getenv("MONGOFERRY_TLS") != "true" {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{}
	if authority != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(authority)
	}
	if own != nil {
		certificate, err := tls.X509KeyPair(own, own)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return credentials.NewTLS(config), nil
}

// fileOf returns the content of the file that a variable names; nil without one.
func fileOf(variable string) ([]byte, error) {
	path := os.Getenv(variable)
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}

// token is shown with every call.
type token []byte

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity allows plain text, as on loopback.
func (token) RequireTransportSecurity() bool { return false }

// followAndCommit returns when the migration is committed. The stream ends then by itself, or with the migration's
// failure.
func followAndCommit(ctx context.Context, client mongoferryv1.SyncServiceClient) error {
	stream, err := client.Progress(ctx, &mongoferryv1.ProgressRequest{Interval: durationpb.New(time.Second)})
	if err != nil {
		return err
	}
	isCommitCalled := false
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println("done: COMMITTED")
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(describe(message.GetProgress()))
		if message.GetProgress().GetCanCommit() && !isCommitCalled {
			if isCommitCalled, err = commit(ctx, client); err != nil {
				return err
			}
		}
	}
}

// commit returns false when the moment has passed, as after a burst of writes: the next message may bring another.
func commit(ctx context.Context, client mongoferryv1.SyncServiceClient) (bool, error) {
	_, err := client.Commit(ctx, &mongoferryv1.CommitRequest{})
	if err != nil && mongoferry.ReadCallFailure(err).Name == "InvalidStateTransition" {
		show(err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fmt.Println("commit: accepted")
	return true, nil
}

func describe(progress *mongoferryv1.ProgressSnapshot) string {
	parts := []string{progress.GetState()}
	if progress.Info != nil {
		parts = append(parts, progress.GetInfo())
	}
	if copied := progress.GetCollectionCopy(); copied != nil {
		total := "?"
		if copied.EstimatedTotalBytes != nil {
			total = fmt.Sprint(copied.GetEstimatedTotalBytes())
		}
		parts = append(parts, fmt.Sprintf("copied %d of %s bytes", copied.GetEstimatedCopiedBytes(), total))
	}
	if progress.LagTimeSeconds != nil {
		parts = append(parts, fmt.Sprintf("lag %d s", progress.GetLagTimeSeconds()))
	}
	return "progress: " + strings.Join(parts, ", ")
}

func show(err error) {
	failure := mongoferry.ReadCallFailure(err)
	name := failure.Name
	if name == "" {
		name = "no answer"
	}
	fmt.Fprintf(os.Stderr, "%s (%s): %s\n", name, failure.Code, failure.Description)
	for _, violation := range failure.Violations {
		fmt.Fprintf(os.Stderr, "  %s: %s\n", violation.Field, violation.Description)
	}
	for key, value := range failure.Metadata {
		fmt.Fprintf(os.Stderr, "  %s = %s\n", key, value)
	}
}
