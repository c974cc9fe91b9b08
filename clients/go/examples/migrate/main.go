// Migrate runs a whole migration: starts it, follows its progress, commits as soon as that would succeed, and shows
// every error.
//
//	go run ./examples/migrate [-source cluster0] [-destination cluster1] localhost:27183
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
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
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
