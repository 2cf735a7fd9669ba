// Prints, for each line read, the credentials that the default chain of the AWS SDK for Go v2 holds at that moment.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"
	_ "unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// The clock of the SDK's caches. Go reads time without libc, so libfaketime cannot move it as it does the others'.
//
//go:linkname sdkNow github.com/aws/aws-sdk-go-v2/internal/sdk.NowTime
var sdkNow func() time.Time

// Now, moved by what libfaketime would read: "+3300s".
func movedNow() time.Time {
	file, movable := os.LookupEnv("FAKETIME_TIMESTAMP_FILE")
	if !movable {
		return time.Now()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic(err)
	}
	return time.Now().Add(offset)
}

func main() {
	sdkNow = movedNow
	answers := json.NewEncoder(os.Stdout)
	answers.Encode(map[string]string{"version": aws.SDKVersion})

	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		keys, err := settings.Credentials.Retrieve(context.Background())
		if err != nil {
			answers.Encode(map[string]string{"error": err.Error()})
			continue
		}
		answers.Encode(map[string]string{
			"id": keys.AccessKeyID, "secret": keys.SecretAccessKey, "token": keys.SessionToken,
		})
	}
}
