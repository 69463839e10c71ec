// Command go_client runs one export with stubs made from protos/, checks what the contract promises of the stream, and
// prints the file's SHA-256, its rows and its chunks. Told to resume, it breaks off after each chunk and goes on with the
// token.
//
//	go_client <address> <company> <format> [resume]
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "hookline.test/client/exportv1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: go_client <address> <company> <format> [resume]")
	}
	format, known := pb.ExportFormat_value["EXPORT_FORMAT_"+os.Args[3]]
	if !known {
		log.Fatalf("there is no format %s", os.Args[3])
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	export := &export{
		client:      pb.NewExportServiceClient(connection),
		request:     &pb.ExportEventsRequest{CompanyId: os.Args[2], Format: pb.ExportFormat(format)},
		breaksOften: len(os.Args) > 4,
	}
	for export.trailer == nil {
		if err := export.read(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%x %d %d\n", sha256.Sum256(export.data), export.trailer.Rows, export.chunks)
}

type export struct {
	client      pb.ExportServiceClient
	request     *pb.ExportEventsRequest
	breaksOften bool
	data        []byte
	digest      []byte
	chunks      int64
	trailer     *pb.ExportTrailer
}

// read reads one stream: to its end, or, where it is to break often, to its first chunk.
func (e *export) read() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := e.client.ExportEvents(ctx, e.request)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil || header.ResumedAfter != e.chunks {
		return fmt.Errorf("after %d chunks the stream begins with %v", e.chunks, first)
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if e.trailer == nil {
				return errors.New("the stream ended without its trailer")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if e.trailer != nil {
			return errors.New("something came after the trailer")
		}
		switch part := message.Part.(type) {
		case *pb.ExportEventsResponse_Chunk:
			if err := e.take(part.Chunk); err != nil {
				return err
			}
			if e.breaksOften {
				return nil
			}
		case *pb.ExportEventsResponse_Trailer:
			if err := e.prove(part.Trailer); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%T came where a chunk or the trailer was to come", part)
		}
	}
}

func (e *export) take(chunk *pb.ExportChunk) error {
	e.data = append(e.data, chunk.Data...)
	e.chunks++
	digest := sha256.Sum256(append(e.digest, chunk.Data...))
	e.digest = digest[:]
	if chunk.Number != e.chunks || chunk.Bytes != int64(len(e.data)) || !bytes.Equal(chunk.Digest, e.digest) {
		return fmt.Errorf("chunk %d is not what was sent", e.chunks)
	}
	e.request.ResumeToken = chunk.ResumeToken
	return nil
}

func (e *export) prove(trailer *pb.ExportTrailer) error {
	whole := sha256.Sum256(e.data)
	isProved := trailer.Bytes == int64(len(e.data)) && bytes.Equal(trailer.Digest, e.digest)
	// A stream that was resumed can't tell the whole file's.
	if !e.breaksOften {
		isProved = isProved && bytes.Equal(trailer.Sha256, whole[:])
	}
	if !isProved {
		return errors.New("the trailer does not prove what came")
	}
	e.trailer = trailer
	return nil
}
