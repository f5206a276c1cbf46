// Package reader reads poste-restante mailboxes, by docs/format.md alone: fetch, page, acknowledge,
// devices.
package reader

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type item = map[string]types.AttributeValue

// Offsets is, per log ("<epoch:04>.<partition:05>"), an offset.
type Offsets map[string]int64

// Header is one header of a message. A nil Value is Kafka's null.
type Header struct {
	Name  string
	Value []byte
}

// Message is what a user receives. Source, Type and ContentType are empty where there is none.
type Message struct {
	Epoch, Partition int
	Offset           int64
	ID, Source, Type string
	ContentType      string
	Body             []byte
	Headers          []Header
	TimeMicros       *int64
	ExpiresAtMillis  *int64
	hasSource        bool
}

// Receipt is what a reading has passed, for Ack and for the next Fetch: plain data, to keep or to
// seal. Own is, of that, all but what only the account had acknowledged, when a device without a
// cursor read from the account's. Carried is what the reading's own cursor covered already, so that
// there is nothing to acknowledge.
type Receipt struct {
	Boundary string  `json:"boundary"`
	Passed   Offsets `json:"passed"`
	Own      Offsets `json:"own"`
	Carried  Offsets `json:"carried"`
}

// Page is what one Fetch returned. More: a message waits behind it.
type Page struct {
	Messages []Message
	Receipt  Receipt
	More     bool
}

// afterCursors sorts behind every cursor and before every bundle.
const afterCursors = "!~"

var (
	bundleKey = regexp.MustCompile(`^(\d{4}\.\d{5})\.(\d{19})\.(\d{19})$`)
	logName   = regexp.MustCompile(`^\d{4}\.\d{5}$`)
)

// reading is one page in the making: items in key order, and how far it has come in each log.
type reading struct {
	topic    string
	nowMs    int64
	limit    int // 0: none
	boundary string
	passed   Offsets
	own      Offsets
	carried  Offsets
	hidden   Offsets // up to where all was acknowledged, or read by an earlier page
	seen     map[[3]string]bool
	messages []Message
	more     bool
}

// newReading begins behind a cursor. inherited: it is the account's, for a device without one.
func newReading(
	topic string, cursor Offsets, inherited bool, now time.Time, limit int, after *Receipt,
) *reading {
	r := &reading{topic: topic, nowMs: now.UnixMilli(), limit: limit, boundary: afterCursors,
		passed: Offsets{}, own: Offsets{}, carried: Offsets{}, hidden: Offsets{}, seen: map[[3]string]bool{}}
	if after != nil {
		r.boundary = after.Boundary
		r.hidden.raise(after.Passed)
		r.own.raise(after.Own)
		r.carried.raise(after.Carried)
	}
	r.hidden.raise(cursor)
	if !inherited {
		r.own.raise(cursor)
		r.carried.raise(cursor)
	}
	r.passed.raise(r.hidden)
	return r
}

// add folds items into the page, in key order, until it ends.
func (r *reading) add(items []item) error {
	for _, it := range items {
		key := text(it["position"])
		if strings.HasPrefix(key, "!") {
			continue // a cursor
		}
		log, last, _, ok := parse(key)
		if ok && last > r.passed.of(log) { // else it is judged by its key
			ok = r.take(it, log)
		}
		if !ok {
			if !r.more && len(r.messages) == 0 {
				return fmt.Errorf("cannot read the item at %s", key)
			}
			r.more = true // full, or before an item that cannot be read: never on as if it were not there
			return nil
		}
		r.pass(log, last)
		r.boundary = key
	}
	return nil
}

// skip says where to go on when a Query ended at a key. Empty: right behind it.
func (r *reading) skip(last string) string {
	if strings.HasPrefix(last, "!") {
		return afterCursors
	}
	log, offset, _, ok := parse(last)
	if !ok || offset > r.hidden.of(log) {
		return ""
	}
	r.boundary = after(log, r.hidden[log])
	return r.boundary
}

// pass says that everything of this log up to an offset was passed, which the reading may acknowledge.
func (r *reading) pass(log string, offset int64) {
	if offset > r.passed.of(log) {
		r.passed[log], r.own[log] = offset, offset
	}
}

// take passes the messages of a bundle. False: the page is full, or the item cannot be read.
func (r *reading) take(it item, log string) bool {
	messages, ok := decode(it, r.topic)
	if !ok {
		return false
	}
	for _, m := range messages {
		if m.Offset <= r.passed.of(log) {
			continue // the drop rule
		}
		identity := [3]string{m.Source, m.ID, string(m.Body)}
		expired := m.ExpiresAtMillis != nil && *m.ExpiresAtMillis <= r.nowMs
		if !expired && !(m.hasSource && r.seen[identity]) {
			if r.limit > 0 && len(r.messages) == r.limit {
				if at, some := r.passed[log]; some {
					r.boundary = max(r.boundary, after(log, at))
				}
				r.more = true
				return false
			}
			r.messages = append(r.messages, m)
			r.seen[identity] = m.hasSource
		}
		r.pass(log, m.Offset)
	}
	return true
}

func (r *reading) page() Page {
	return Page{r.messages, Receipt{r.boundary, r.passed, r.own, r.carried}, r.more}
}

// decode returns the messages of a bundle. False: another version, or not what its key says.
func decode(it item, topic string) (messages []Message, ok bool) {
	defer func() { // an attribute that is missing, or of another type
		if recover() != nil {
			messages, ok = nil, false
		}
	}()
	log, last, first, ok := parse(text(it["position"]))
	if !ok || number(it["v"]) != 1 {
		return nil, false
	}
	for _, entry := range it["messages"].(*types.AttributeValueMemberL).Value {
		m := entry.(*types.AttributeValueMemberM).Value
		message := Message{Offset: number(m["o"]), Body: m["b"].(*types.AttributeValueMemberB).Value,
			ID: text(m["i"]), Source: text(m["s"]), Type: text(m["y"]), ContentType: text(m["c"]),
			TimeMicros: optional(m["t"]), ExpiresAtMillis: optional(m["e"]), hasSource: m["s"] != nil}
		message.Epoch, _ = strconv.Atoi(log[:4])
		message.Partition, _ = strconv.Atoi(log[5:])
		if m["i"] == nil {
			message.ID = fmt.Sprintf("%s/%d/%d/%d", topic, message.Epoch, message.Partition, message.Offset)
		}
		if flat, some := m["h"].(*types.AttributeValueMemberL); some {
			for pair := range slices.Chunk(flat.Value, 2) {
				header := Header{Name: text(pair[0])}
				if value, some := pair[1].(*types.AttributeValueMemberB); some {
					header.Value = append([]byte{}, value.Value...)
				}
				message.Headers = append(message.Headers, header)
			}
		}
		messages = append(messages, message)
	}
	n := len(messages)
	return messages, n > 0 && messages[0].Offset == first && messages[n-1].Offset == last
}

func cursorOf(it item) Offsets {
	return offsetsOf(it, "")
}

// offsetsOf has the prefix "purged." for the offsets up to which the mailbox was purged.
func offsetsOf(it item, prefix string) Offsets {
	found := Offsets{}
	for name, value := range it {
		if log, some := strings.CutPrefix(name, prefix); some && logName.MatchString(log) {
			found[log] = number(value)
		}
	}
	return found
}

func (o Offsets) of(log string) int64 {
	if offset, some := o[log]; some {
		return offset
	}
	return -1
}

func (o Offsets) raise(by Offsets) {
	for log, offset := range by {
		o[log] = max(offset, o.of(log))
	}
}

func after(log string, offset int64) string { return fmt.Sprintf("%s.%019d.~", log, offset) }

func parse(key string) (log string, last, first int64, ok bool) {
	found := bundleKey.FindStringSubmatch(key)
	if found == nil {
		return "", 0, 0, false
	}
	last, _ = strconv.ParseInt(found[2], 10, 64)
	first, _ = strconv.ParseInt(found[3], 10, 64)
	return found[1], last, first, true
}

func text(value types.AttributeValue) string {
	if s, some := value.(*types.AttributeValueMemberS); some {
		return s.Value
	}
	return ""
}

func number(value types.AttributeValue) int64 {
	if found := optional(value); found != nil {
		return *found
	}
	return -1
}

func optional(value types.AttributeValue) *int64 {
	if n, some := value.(*types.AttributeValueMemberN); some {
		if found, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return &found
		}
	}
	return nil
}
