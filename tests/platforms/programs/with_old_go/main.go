// Prints, for each line read, the credentials that a Go client other than the SDK v2 holds at that moment: `v1` is the
// default chain of the AWS SDK for Go v1, `minio` the one that restic makes with minio-go.
package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

type keys struct{ id, secret, token string }

func v1() func() (keys, error) {
	chain := session.Must(session.NewSessionWithOptions(session.Options{SharedConfigState: session.SharedConfigEnable}))
	return func() (keys, error) {
		found, err := chain.Config.Credentials.Get()
		return keys{found.AccessKeyID, found.SecretAccessKey, found.SessionToken}, err
	}
}

func minio() func() (keys, error) {
	chain := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.EnvMinio{},
		&credentials.FileAWSCredentials{},
		&credentials.FileMinioClient{},
		// restic leaves the endpoint out and can ask 169.254.169.254 alone.
		&credentials.IAM{Client: &http.Client{Transport: http.DefaultTransport}, Endpoint: os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")},
	})
	return func() (keys, error) {
		found, err := chain.GetWithContext(nil)
		return keys{found.AccessKeyID, found.SecretAccessKey, found.SessionToken}, err
	}
}

func version(module string) string {
	built, _ := debug.ReadBuildInfo()
	for _, dependency := range built.Deps {
		if dependency.Path == module {
			return strings.TrimPrefix(dependency.Version, "v")
		}
	}
	return "unknown"
}

// By how many seconds the clock is moved. Go looks at it where nothing may be read.
var offset atomic.Int64

// Reads what libfaketime would: "+3300s".
func readOffset() {
	text, err := os.ReadFile(os.Getenv("FAKETIME_TIMESTAMP_FILE"))
	if err != nil {
		panic(err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(text)), "s"), 10, 64)
	if err != nil {
		panic(err)
	}
	offset.Store(seconds)
}

func main() {
	movable := os.Getenv("FAKETIME_TIMESTAMP_FILE") != ""
	if movable {
		// tests/platforms/run adds this to the standard library: these SDKs have no clock of their own to move.
		time.Moved = offset.Load
	}
	answers := json.NewEncoder(os.Stdout)
	module, start := "github.com/aws/aws-sdk-go", v1
	if os.Args[1] == "minio" {
		module, start = "github.com/minio/minio-go/v7", minio
	}
	answers.Encode(map[string]string{"version": version(module)})
	get := start()
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		if movable {
			readOffset()
		}
		found, err := get()
		switch {
		case err != nil:
			answers.Encode(map[string]string{"error": err.Error()})
		case found.id == "":
			answers.Encode(map[string]string{"error": "no credentials, and no error"})
		default:
			answers.Encode(map[string]string{"id": found.id, "secret": found.secret, "token": found.token})
		}
	}
}
