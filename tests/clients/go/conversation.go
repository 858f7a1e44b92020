package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// request sends requests and prints each reply.
func request(arguments []string) bool {
	flags := flag.NewFlagSet("request", flag.ExitOnError)
	timeout := flags.Int("timeout-ms", 20000, "how long to wait for a reply")
	positional := parse(flags, arguments, 3)
	count, err := strconv.Atoi(positional[2])
	if err != nil {
		return failed(0, err)
	}
	client, err := newProducer(positional[0], "test_request")
	if err != nil {
		return failed(0, err)
	}
	defer client.Shutdown()
	for index := 0; index < count; index++ {
		message := primitive.NewMessage(positional[1], []byte(fmt.Sprintf("question-%d", index)))
		reply, err := client.Request(context.Background(), time.Duration(*timeout)*time.Millisecond, message)
		if err != nil {
			return failed(index, err)
		}
		printJSON(map[string]any{"index": index, "reply": string(reply.Body)})
	}
	// The broker still waits to hear that the last reply came.
	time.Sleep(time.Second)
	return true
}

// respond replies to each request with its body and an exclamation mark.
func respond(arguments []string) bool {
	flags := flag.NewFlagSet("respond", flag.ExitOnError)
	expect := flags.Int("expect", 1, "requests to wait for")
	positional := parse(flags, arguments, 3)
	replies, err := newProducer(positional[0], "test_respond")
	if err != nil {
		return failed(0, err)
	}
	defer replies.Shutdown()
	client, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{positional[0]})),
		consumer.WithGroupName(positional[2]),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return failed(0, err)
	}
	done := make(chan struct{}, *expect)
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	err = client.Subscribe(positional[1], all, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			// The Go client tells brokers of a producer with its next heartbeat only, and not before it asks.
			time.Sleep(time.Second)
			reply, err := consumer.CreateReplyMessage(message, nil)
			if err != nil {
				failed(0, err)
				continue
			}
			// Version 2.1.2 forgets the body that it is given.
			reply.Body = append(message.Body, '!')
			send(replies, 0, false, reply)
			done <- struct{}{}
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
	for seen := 0; seen < *expect; seen++ {
		select {
		case <-done:
		case <-time.After(120 * time.Second):
			return false
		}
	}
	return true
}

// trace sends a message and consumes it, both with traces on; prints its id.
func trace(arguments []string) bool {
	positional := parse(flag.NewFlagSet("trace", flag.ExitOnError), arguments, 3)
	resolver := primitive.NewPassthroughResolver([]string{positional[0]})
	traces := func(group string) *primitive.TraceConfig {
		return &primitive.TraceConfig{GroupName: group, Access: primitive.Local, Resolver: resolver}
	}
	sender, err := rocketmq.NewProducer(
		producer.WithNsResolver(resolver), producer.WithGroupName("test_trace"), producer.WithTrace(traces("test_trace")),
	)
	if err != nil {
		return failed(0, err)
	}
	if err := sender.Start(); err != nil {
		return failed(0, err)
	}
	defer sender.Shutdown()
	result, err := sender.SendSync(context.Background(), primitive.NewMessage(positional[1], []byte("traced")))
	if err != nil {
		return failed(0, err)
	}
	client, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(resolver), consumer.WithGroupName(positional[2]),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithTrace(traces(positional[2])),
	)
	if err != nil {
		return failed(0, err)
	}
	done := make(chan struct{}, 100)
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	err = client.Subscribe(positional[1], all, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			if message.MsgId == result.MsgID {
				done <- struct{}{}
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
	select {
	case <-done:
	case <-time.After(120 * time.Second):
		return false
	}
	// Traces are sent in the background.
	time.Sleep(3 * time.Second)
	printJSON(map[string]any{"msgId": result.MsgID})
	return true
}

func newProducer(namesrv, group string) (rocketmq.Producer, error) {
	client, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{namesrv})),
		producer.WithGroupName(group),
	)
	if err != nil {
		return nil, err
	}
	return client, client.Start()
}
