// Driver does what a line of JSON on standard input says, and answers with a line: for the tests of
// the format.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	reader "example.com/poste-restante/reader"
)

type step struct {
	Do, User, Device, Start string
	Limit                   int
	Receipt                 *int
}

type answer map[string]any

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	mailboxes, err := reader.Open(ctx, dynamodb.NewFromConfig(settings), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 2 {
		ms, err := strconv.ParseInt(os.Args[2], 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		mailboxes.Now = func() time.Time { return time.UnixMilli(ms) }
	}
	var receipts []reader.Receipt
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			log.Fatal(err)
		}
		said := answer{}
		switch s.Do {
		case "fetch":
			var after *reader.Receipt
			if s.Receipt != nil {
				after = &receipts[*s.Receipt]
			}
			var page reader.Page
			page, err = mailboxes.Fetch(ctx, s.User, s.Device, s.Limit, after)
			receipts = append(receipts, page.Receipt)
			said["messages"], said["more"] = shown(page.Messages), page.More
		case "forget":
			receipts = nil
		case "ack":
			err = mailboxes.Ack(ctx, s.User, s.Device, receipts[*s.Receipt])
		case "add_device":
			said["made"], err = mailboxes.AddDevice(ctx, s.User, s.Device, s.Start)
		case "remove_device":
			err = mailboxes.RemoveDevice(ctx, s.User, s.Device)
		case "devices":
			var names []string
			names, err = mailboxes.Devices(ctx, s.User)
			said["devices"] = append([]string{}, names...)
		}
		if err != nil {
			said = answer{"error": err.Error()}
		}
		if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}

func shown(messages []reader.Message) []answer {
	all := []answer{}
	for _, m := range messages {
		headers := [][2]any{}
		for _, h := range m.Headers {
			headers = append(headers, [2]any{h.Name, h.Value}) // bytes are base64 in JSON, nil is null
		}
		all = append(all, answer{
			"epoch": m.Epoch, "partition": m.Partition, "offset": m.Offset, "id": m.ID,
			"source": orNull(m.Source), "type": orNull(m.Type), "content_type": orNull(m.ContentType),
			"body": append([]byte{}, m.Body...), "time_us": m.TimeMicros, "headers": headers,
		})
	}
	return all
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
