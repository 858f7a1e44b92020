// Command rocketmq is an ordinary RocketMQ application as a command line program, for tests against real servers.
// It has the same commands as the Java program beside it.
//
//	produce NAMESRV TOPIC COUNT    send messages; one JSON line per result
//	consume NAMESRV TOPIC GROUP    push consumer; prints READY, then one JSON line per message
//	lite NAMESRV TOPIC GROUP       pull consumer; one JSON line per message
//	trace NAMESRV TOPIC GROUP      send and consume one message with traces on
//	transact NAMESRV TOPIC COUNT   send half messages; one JSON line per result and per question of the broker
//	request NAMESRV TOPIC COUNT    send requests; one JSON line per reply
//	respond NAMESRV TOPIC GROUP    reply to requests
//	create-topic NAMESRV TOPIC     -queues N -broker HOST:PORT
//
// In the values of -body, -tag, -key and -prop, {i} stands for the message's number from 0. The Go client always
// encodes request headers as JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("error")
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: rocketmq produce|consume|lite|transact|request|respond|trace|create-topic NAMESRV TOPIC ...")
		os.Exit(2)
	}
	var good bool
	switch os.Args[1] {
	case "produce":
		good = produce(os.Args[2:])
	case "consume":
		good = consume(os.Args[2:])
	case "lite":
		good = lite(os.Args[2:])
	case "trace":
		good = trace(os.Args[2:])
	case "transact":
		good = transact(os.Args[2:])
	case "request":
		good = request(os.Args[2:])
	case "respond":
		good = respond(os.Args[2:])
	case "create-topic":
		good = createTopic(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, "unknown command", os.Args[1])
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

type properties []string

func (p *properties) String() string { return strings.Join(*p, ",") }

func (p *properties) Set(value string) error {
	*p = append(*p, value)
	return nil
}

// parse reads count positional arguments and the options after them.
func parse(flags *flag.FlagSet, arguments []string, count int) []string {
	if len(arguments) < count {
		fmt.Fprintln(os.Stderr, "missing arguments after", strings.Join(arguments, " "))
		os.Exit(2)
	}
	// ExitOnError: Parse does not return an error.
	_ = flags.Parse(arguments[count:])
	return arguments[:count]
}

type produceOptions struct {
	tag, key, body string
	priority       string
	props          properties
	bodySize       int
	queue          int
	delayLevel     int
	delayMs        string
}

func (o *produceOptions) message(topic string, index int) *primitive.Message {
	body := []byte(numbered(o.body, index))
	if o.bodySize >= 0 {
		body = make([]byte, o.bodySize)
		for at := range body {
			body[at] = byte('a' + (at+index)%26)
		}
	}
	message := primitive.NewMessage(topic, body)
	if o.tag != "" {
		message.WithTag(numbered(o.tag, index))
	}
	if o.key != "" {
		message.WithKeys([]string{numbered(o.key, index)})
	}
	for _, property := range o.props {
		name, value, _ := strings.Cut(property, "=")
		message.WithProperty(name, numbered(value, index))
	}
	// The library has no call for these.
	if o.priority != "" {
		message.WithProperty("_SYS_MSG_PRIORITY_", numbered(o.priority, index))
	}
	if o.delayMs != "" {
		message.WithProperty("TIMER_DELAY_MS", o.delayMs)
	}
	if o.delayLevel > 0 {
		message.WithDelayTimeLevel(o.delayLevel)
	}
	if o.queue >= 0 {
		message.Queue = &primitive.MessageQueue{Topic: topic, QueueId: o.queue}
	}
	return message
}

// queueSelector takes the queue a message names, or goes round.
type queueSelector struct{ next atomic.Uint32 }

func (s *queueSelector) Select(message *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	if message.Queue != nil {
		for _, queue := range queues {
			if queue.QueueId == message.Queue.QueueId {
				return queue
			}
		}
	}
	return queues[int(s.next.Add(1))%len(queues)]
}

func produce(arguments []string) bool {
	var options produceOptions
	flags := flag.NewFlagSet("produce", flag.ExitOnError)
	flags.StringVar(&options.tag, "tag", "", "tag")
	flags.StringVar(&options.key, "key", "", "key")
	flags.StringVar(&options.body, "body", "message-{i}", "body")
	flags.Var(&options.props, "prop", "property k=v, may be repeated")
	flags.Var(&options.props, "system", "the same, of a property that is not an application's to set")
	flags.StringVar(&options.priority, "priority", "", "priority")
	flags.StringVar(&options.delayMs, "delay-ms", "", "delay in milliseconds")
	flags.IntVar(&options.bodySize, "body-size", -1, "bytes of body")
	flags.IntVar(&options.queue, "queue", -1, "queue")
	flags.IntVar(&options.delayLevel, "delay-level", 0, "delay level")
	group := flags.String("group", "test_producer", "producer group")
	batch := flags.Bool("batch", false, "all in one batch")
	oneway := flags.Bool("oneway", false, "without a reply")
	retries := flags.Int("retries", 2, "retries of a failed send")
	timeout := flags.Int("timeout-ms", 30000, "send timeout")
	positional := parse(flags, arguments, 3)
	topic := positional[1]
	count, err := strconv.Atoi(positional[2])
	if err != nil {
		return failed(0, err)
	}

	client, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{positional[0]})),
		producer.WithGroupName(*group),
		producer.WithRetry(*retries),
		producer.WithSendMsgTimeout(time.Duration(*timeout)*time.Millisecond),
		producer.WithQueueSelector(&queueSelector{}),
	)
	if err != nil {
		return failed(0, err)
	}
	if err := client.Start(); err != nil {
		return failed(0, err)
	}
	defer client.Shutdown()

	if *batch {
		messages := make([]*primitive.Message, count)
		for index := range messages {
			messages[index] = options.message(topic, index)
		}
		return send(client, 0, *oneway, messages...)
	}
	good := true
	for index := 0; index < count; index++ {
		good = send(client, index, *oneway, options.message(topic, index)) && good
	}
	return good
}

func send(client rocketmq.Producer, index int, oneway bool, messages ...*primitive.Message) bool {
	if oneway {
		if err := client.SendOneWay(context.Background(), messages...); err != nil {
			return failed(index, err)
		}
		printJSON(map[string]any{"index": index, "status": "ONEWAY"})
		return true
	}
	result, err := client.SendSync(context.Background(), messages...)
	if err != nil {
		return failed(index, err)
	}
	status := map[primitive.SendStatus]string{
		primitive.SendOK:                "SEND_OK",
		primitive.SendFlushDiskTimeout:  "FLUSH_DISK_TIMEOUT",
		primitive.SendFlushSlaveTimeout: "FLUSH_SLAVE_TIMEOUT",
		primitive.SendSlaveNotAvailable: "SLAVE_NOT_AVAILABLE",
	}[result.Status]
	printJSON(map[string]any{
		"index": index, "status": status, "msgId": result.MsgID, "offsetMsgId": result.OffsetMsgID,
		"topic": result.MessageQueue.Topic, "broker": result.MessageQueue.BrokerName,
		"queueId": result.MessageQueue.QueueId, "queueOffset": result.QueueOffset,
	})
	return true
}

func consume(arguments []string) bool {
	flags := flag.NewFlagSet("consume", flag.ExitOnError)
	expect := flags.Int("expect", -1, "messages to wait for; without it, until standard input is closed")
	tag := flags.String("tag", "*", "tag expression")
	sql := flags.String("sql", "", "SQL92 expression")
	from := flags.String("from", "first", "first, last, or the second of a time in milliseconds since the epoch")
	broadcast := flags.Bool("broadcast", false, "every consumer gets every message")
	orderly := flags.Bool("orderly", false, "one message of a queue after the other")
	timeout := flags.Int("timeout-s", 120, "seconds to wait")
	fail := flags.Int("fail", 0, "deliveries to refuse")
	retryLevel := flags.Int("retry-level", 0, "delay level of refused messages")
	maxReconsume := flags.Int("max-reconsume", -1, "how often a message comes back")
	positional := parse(flags, arguments, 3)

	options := []consumer.Option{
		consumer.WithMaxReconsumeTimes(int32(*maxReconsume)),
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{positional[0]})),
		consumer.WithGroupName(positional[2]),
		consumer.WithConsumerOrder(*orderly),
	}
	switch *from {
	case "first":
		options = append(options, consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	case "last":
		options = append(options, consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	default:
		ms, err := strconv.ParseInt(*from, 10, 64)
		if err != nil {
			return failed(0, err)
		}
		options = append(options, consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp),
			consumer.WithConsumeTimestamp(time.UnixMilli(ms).Format("20060102150405")))
	}
	if *broadcast {
		options = append(options, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	client, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return failed(0, err)
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: *tag}
	if *sql != "" {
		selector = consumer.MessageSelector{Type: consumer.SQL92, Expression: *sql}
	}
	enough := make(chan struct{})
	var taken, refused atomic.Int64
	err = client.Subscribe(positional[1], selector, func(call context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if refused.Add(1) <= int64(*fail) {
			if concurrent, ok := primitive.GetConcurrentlyCtx(call); ok {
				concurrent.DelayLevelWhenNextConsume = *retryLevel
			}
			if *orderly {
				return consumer.SuspendCurrentQueueAMoment, nil
			}
			return consumer.ConsumeRetryLater, nil
		}
		for _, message := range messages {
			printMessage(message)
			if taken.Add(1) == int64(*expect) {
				close(enough)
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return failed(0, err)
	}
	if err := client.Start(); err != nil {
		return failed(0, err)
	}
	defer client.Shutdown()
	printLine("READY")

	if *expect < 0 {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return true
	}
	select {
	case <-enough:
		return true
	case <-time.After(time.Duration(*timeout) * time.Second):
		printLine(fmt.Sprintf("TIMEOUT %d missing", int64(*expect)-taken.Load()))
		return false
	}
}

type transactions struct {
	decision, answer primitive.LocalTransactionState
	checks           chan struct{}
}

func (t *transactions) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return t.decision
}

func (t *transactions) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	printJSON(map[string]any{
		"checked": message.TransactionId, "topic": message.Topic,
		"times": message.GetProperty("TRANSACTION_CHECK_TIMES"),
	})
	t.checks <- struct{}{}
	return t.answer
}

func transact(arguments []string) bool {
	states := map[string]primitive.LocalTransactionState{
		"commit": primitive.CommitMessageState, "rollback": primitive.RollbackMessageState, "unknown": primitive.UnknowState,
	}
	flags := flag.NewFlagSet("transact", flag.ExitOnError)
	decide := flags.String("decide", "commit", "commit, rollback or unknown")
	answer := flags.String("answer", "commit", "what questions are answered")
	checks := flags.Int("checks", 0, "questions to wait for")
	group := flags.String("group", "test_transactions", "producer group")
	timeout := flags.Int("timeout-s", 120, "seconds to wait")
	positional := parse(flags, arguments, 3)
	count, err := strconv.Atoi(positional[2])
	if err != nil {
		return failed(0, err)
	}
	listener := &transactions{decision: states[*decide], answer: states[*answer], checks: make(chan struct{}, 1000)}
	client, err := rocketmq.NewTransactionProducer(listener,
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{positional[0]})),
		producer.WithGroupName(*group),
	)
	if err != nil {
		return failed(0, err)
	}
	if err := client.Start(); err != nil {
		return failed(0, err)
	}
	defer client.Shutdown()
	// One-way requests are on their way.
	defer time.Sleep(200 * time.Millisecond)
	for index := 0; index < count; index++ {
		message := primitive.NewMessage(positional[1], []byte(fmt.Sprintf("message-%d", index)))
		result, err := client.SendMessageInTransaction(context.Background(), message)
		if err != nil {
			return failed(index, err)
		}
		printJSON(map[string]any{"index": index, "state": result.State})
	}
	deadline := time.After(time.Duration(*timeout) * time.Second)
	for seen := 0; seen < *checks; seen++ {
		select {
		case <-listener.checks:
		case <-deadline:
			return false
		}
	}
	return true
}

func createTopic(arguments []string) bool {
	flags := flag.NewFlagSet("create-topic", flag.ExitOnError)
	queues := flags.Int("queues", 4, "read and write queues")
	broker := flags.String("broker", "", "the broker's address: the Go client does not look it up")
	positional := parse(flags, arguments, 2)
	client, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{positional[0]})))
	if err != nil {
		return failed(0, err)
	}
	defer client.Close()
	err = client.CreateTopic(context.Background(),
		admin.WithTopicCreate(positional[1]),
		admin.WithBrokerAddrCreate(*broker),
		admin.WithReadQueueNums(*queues),
		admin.WithWriteQueueNums(*queues),
	)
	if err != nil {
		return failed(0, err)
	}
	printJSON(map[string]any{"created": positional[1]})
	return true
}

func numbered(template string, index int) string {
	return strings.ReplaceAll(template, "{i}", strconv.Itoa(index))
}

func printMessage(message *primitive.MessageExt) {
	printJSON(map[string]any{
		"topic": message.Topic, "queueId": message.Queue.QueueId, "queueOffset": message.QueueOffset,
		"msgId": message.MsgId, "tags": message.GetTags(), "keys": message.GetKeys(),
		"reconsumeTimes": message.ReconsumeTimes, "bornTimestamp": message.BornTimestamp,
		"storeTimestamp": message.StoreTimestamp, "body": message.Body, "properties": message.GetProperties(),
	})
}

func failed(index int, err error) bool {
	line := map[string]any{"index": index, "error": fmt.Sprintf("%T", err), "message": err.Error()}
	var broker primitive.MQBrokerErr
	if errors.As(err, &broker) {
		line["code"] = broker.ResponseCode
	}
	printJSON(line)
	return false
}

func printJSON(value map[string]any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	printLine(string(text))
}

var (
	printing sync.Mutex
	output   = bufio.NewWriter(os.Stdout)
)

func printLine(line string) {
	printing.Lock()
	defer printing.Unlock()
	fmt.Fprintln(output, line)
	output.Flush()
}
