package reader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The first Query asks for firstItems: the cursor, and a bundle. A device's asks for otherDevices more,
// since the cursors of other devices stand before the bundles.
const firstItems, otherDevices = 2, 2

var deviceName = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// Where a new device begins: at all that is stored, behind all of it, or where the account stands.
const (
	Oldest  = "oldest"
	Newest  = "newest"
	Account = "account"
)

// Mailboxes are the mailboxes of one table. A device is "" for the account.
type Mailboxes struct {
	client *dynamodb.Client
	table  string
	topic  string
	Now    func() time.Time
}

// Open reads the table record. A server reads it again every 60 s: another table_id is another table.
func Open(ctx context.Context, client *dynamodb.Client, table string) (*Mailboxes, error) {
	m := &Mailboxes{client: client, table: table, Now: time.Now}
	items, _, err := m.query(ctx, "!table", "", "", 0, nil, true)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 || number(items[0]["v"]) != 1 || number(items[0]["window_size"]) != 10000 {
		return nil, fmt.Errorf("%s is no table of format version 1: run `poste init`", table)
	}
	m.topic = text(items[0]["topic"])
	return m, nil
}

// Fetch returns what waits for a user or a device, or what follows a page. limit: messages; 0: what
// the Queries bring. It acknowledges nothing.
func (m *Mailboxes) Fetch(ctx context.Context, user, device string, limit int, after *Receipt) (Page, error) {
	key, position, err := keys(user, device)
	if err != nil {
		return Page{}, err
	}
	wanted := 0
	if limit > 0 {
		wanted = limit + 1 // one more tells whether there is more
	}
	var cursor Offsets
	var inherited bool // it is the account's, for a device without one
	var items []item
	var last item
	if after == nil {
		first, operator := firstItems, ""
		if wanted > 0 {
			first = min(first, wanted)
		}
		if device != "" {
			first, operator = first+otherDevices, ">="
		}
		items, last, err = m.query(ctx, key, operator, position, first, nil, true)
		if err == nil && len(items) > 0 && text(items[0]["position"]) == position {
			cursor = cursorOf(items[0])
		} else if err == nil && device != "" {
			inherited = true
			cursor, _, err = m.cursor(ctx, key, "")
		}
	} else if cursor, inherited, err = m.cursor(ctx, key, device); err == nil {
		items, last, err = m.query(ctx, key, ">", after.Boundary, wanted, nil, true)
	}
	r := newReading(m.topic, cursor, inherited, m.Now(), limit, after)
	for err == nil {
		if err = r.add(items); err != nil {
			break
		}
		if last == nil || r.more {
			return r.page(), nil
		}
		rest := 0
		if wanted > 0 {
			rest = wanted - len(r.messages)
		}
		if above := r.skip(text(last["position"])); above != "" {
			items, last, err = m.query(ctx, key, ">", above, rest, nil, true)
		} else {
			items, last, err = m.query(ctx, key, "", "", rest, last, true)
		}
	}
	return Page{}, err
}

// Ack acknowledges what a reading has passed. It never comes back; repeated, it changes nothing.
func (m *Mailboxes) Ack(ctx context.Context, user, device string, receipt Receipt) error {
	key, position, err := keys(user, device)
	if err != nil {
		return err
	}
	for _, log := range slices.Sorted(maps.Keys(receipt.Own)) {
		offset := receipt.Own[log]
		if offset <= receipt.Carried.of(log) {
			continue
		}
		there, err := m.raise(ctx, key, position, log, offset)
		if err != nil {
			return err
		}
		if !there {
			// All that was passed, at once: what the account had acknowledged would come back else.
			if made, err := m.create(ctx, key, position, receipt.Passed); made || err != nil {
				return err
			}
			return m.Ack(ctx, user, device, receipt) // somebody else has just made it
		}
	}
	return nil
}

// AddDevice gives a device a cursor of its own. False: it has one, which stays as it is.
func (m *Mailboxes) AddDevice(ctx context.Context, user, device, start string) (bool, error) {
	key, position, err := keys(user, device)
	at := Offsets{}
	switch {
	case err != nil:
	case start == Account:
		at, _, err = m.cursor(ctx, key, "")
	case start == Newest:
		at, err = m.newest(ctx, key)
	}
	if err != nil {
		return false, err
	}
	return m.create(ctx, key, position, at)
}

// Devices are the devices of a mailbox that have a cursor of their own.
func (m *Mailboxes) Devices(ctx context.Context, user string) ([]string, error) {
	key, _, _ := keys(user, "")
	cursors, err := m.cursors(ctx, key)
	var names []string
	for _, it := range cursors {
		if name := text(it["position"])[1:]; name != "" {
			names = append(names, name)
		}
	}
	return names, err
}

// RemoveDevice deletes a device's cursor.
func (m *Mailboxes) RemoveDevice(ctx context.Context, user, device string) error {
	key, position, err := keys(user, device)
	if err == nil {
		_, err = m.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &m.table, Key: itemKey(key, position)})
	}
	return err
}

// cursor is a device's own, else the account's, which the device inherits.
func (m *Mailboxes) cursor(ctx context.Context, key, device string) (at Offsets, inherited bool, err error) {
	items, _, err := m.query(ctx, key, "=", "!"+device, 0, nil, true)
	switch {
	case err != nil:
		return nil, false, err
	case len(items) > 0:
		return cursorOf(items[0]), false, nil
	case device != "":
		at, _, err = m.cursor(ctx, key, "")
		return at, true, err
	}
	return Offsets{}, false, nil
}

func (m *Mailboxes) cursors(ctx context.Context, key string) (all []item, err error) {
	for items, last := []item(nil), item(nil); ; {
		if items, last, err = m.query(ctx, key, "<=", afterCursors, 0, last, true); err != nil {
			return nil, err
		}
		if all = append(all, items...); last == nil {
			return all, nil
		}
	}
}

// newest is, per log, the last offset that is, or was, stored: no bundle is parsed.
func (m *Mailboxes) newest(ctx context.Context, key string) (Offsets, error) {
	found := Offsets{}
	cursors, err := m.cursors(ctx, key)
	for _, it := range cursors {
		found.raise(cursorOf(it))
	}
	for operator, below := "", ""; err == nil; operator = "<" {
		var items []item
		items, _, err = m.query(ctx, key, operator, below, 1, nil, false)
		if err != nil || len(items) == 0 || strings.HasPrefix(text(items[0]["position"]), "!") {
			break
		}
		below = text(items[0]["position"])
		if log, last, _, ok := parse(below); ok {
			found.raise(Offsets{log: last})
			below = log + "."
		}
	}
	return found, err
}

// raise is false where the device has no cursor. Further already is what was wanted.
func (m *Mailboxes) raise(ctx context.Context, key, position, log string, offset int64) (bool, error) {
	condition := "attribute_not_exists(#log) OR #log < :offset"
	input := &dynamodb.UpdateItemInput{
		TableName: &m.table, Key: itemKey(key, position), UpdateExpression: aws.String("SET #log = :offset REMOVE expires_at, purged_at"),
		ExpressionAttributeNames:  map[string]string{"#log": log},
		ExpressionAttributeValues: item{":offset": numberOf(offset)},
		ReturnValues:              types.ReturnValueUpdatedNew,
	}
	if position != "!" {
		condition = "attribute_exists(#position) AND (" + condition + ")"
		input.ExpressionAttributeNames["#position"] = "position"
		input.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	input.ConditionExpression = &condition
	_, err := m.client.UpdateItem(ctx, input)
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return position == "!" || failed.Item != nil, nil
	}
	return true, err
}

// create is false where there is a cursor already, which stays as it is.
func (m *Mailboxes) create(ctx context.Context, key, position string, wanted Offsets) (bool, error) {
	at := maps.Clone(wanted) // at or above what was purged: a replay may write that again
	account, _, err := m.query(ctx, key, "=", "!", 0, nil, true)
	if err != nil {
		return false, err
	}
	for _, it := range account {
		at.raise(offsetsOf(it, "purged."))
	}
	input := &dynamodb.UpdateItemInput{
		TableName: &m.table, Key: itemKey(key, position),
		ConditionExpression:      aws.String("attribute_not_exists(#position)"),
		ExpressionAttributeNames: map[string]string{"#position": "position"},
		ReturnValues:             types.ReturnValueAllNew,
	}
	var sets []string
	values := item{}
	for _, log := range slices.Sorted(maps.Keys(at)) {
		name := fmt.Sprintf("l%d", len(sets))
		sets = append(sets, fmt.Sprintf("#%s = :%s", name, name))
		input.ExpressionAttributeNames["#"+name] = log
		values[":"+name] = numberOf(at[log])
	}
	if len(sets) > 0 {
		input.UpdateExpression = aws.String("SET " + strings.Join(sets, ", "))
		input.ExpressionAttributeValues = values
	}
	_, err = m.client.UpdateItem(ctx, input)
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return false, nil
	}
	return err == nil, err
}

// query is one strongly consistent Query. limit: items; 0: what one Query brings. last: where the
// next one continues; nil: that was all.
func (m *Mailboxes) query(
	ctx context.Context, key, operator, bound string, limit int, start item, forward bool,
) (items []item, last item, err error) {
	input := &dynamodb.QueryInput{
		TableName: &m.table, ConsistentRead: aws.Bool(true), ExclusiveStartKey: start,
		KeyConditionExpression:    aws.String("user_id = :user"),
		ExpressionAttributeValues: item{":user": &types.AttributeValueMemberS{Value: key}},
	}
	if operator != "" {
		input.KeyConditionExpression = aws.String("user_id = :user AND #position " + operator + " :key")
		input.ExpressionAttributeNames = map[string]string{"#position": "position"}
		input.ExpressionAttributeValues[":key"] = &types.AttributeValueMemberS{Value: bound}
	}
	if limit > 0 {
		input.Limit = aws.Int32(int32(limit))
	}
	if !forward {
		input.ScanIndexForward = aws.Bool(false)
	}
	answer, err := m.client.Query(ctx, input)
	if err != nil {
		return nil, nil, err
	}
	return answer.Items, answer.LastEvaluatedKey, nil
}

// keys are the partition key of a mailbox and the sort key of a cursor.
func keys(user, device string) (string, string, error) {
	if device != "" && !deviceName.MatchString(device) {
		return "", "", fmt.Errorf("not the name of a device: %q", device)
	}
	if strings.HasPrefix(user, "!") {
		user = "!" + user
	}
	return user, "!" + device, nil
}

func itemKey(key, position string) item {
	return item{"user_id": &types.AttributeValueMemberS{Value: key}, "position": &types.AttributeValueMemberS{Value: position}}
}

func numberOf(offset int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(offset)}
}
