package main

import (
	"context"
	"flag"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// lite pulls from a light queue, whose broker is one of the topic's, and prints what it gets. The pull consumer of 2.1.2 leaves
// the progress in queues that it was not assigned to its user: -skip says where to begin.
func lite(arguments []string) bool {
	flags := flag.NewFlagSet("lite", flag.ExitOnError)
	light := flags.String("light", "", "light queue")
	skip := flags.Int64("skip", 0, "offset to begin with")
	expect := flags.Int("expect", 0, "messages to wait for")
	broker := flags.String("broker", "broker-a", "name of the broker")
	timeout := flags.Int("timeout-s", 120, "seconds to wait")
	positional := parse(flags, arguments, 3)
	client, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{positional[0]})),
		consumer.WithGroupName(positional[2]),
	)
	if err != nil {
		return failed(0, err)
	}
	if err := client.Subscribe(positional[1], consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
		return failed(0, err)
	}
	if err := client.Start(); err != nil {
		return failed(0, err)
	}
	defer client.Shutdown()
	queue := &primitive.MessageQueue{Topic: *light, BrokerName: *broker, QueueId: 0}
	offset, seen := *skip, 0
	deadline := time.Now().Add(time.Duration(*timeout) * time.Second)
	for seen < *expect && time.Now().Before(deadline) {
		result, err := client.PullFrom(context.Background(), queue, offset, 32)
		if err != nil {
			return failed(seen, err)
		}
		offset = result.NextBeginOffset
		if result.Status != primitive.PullFound {
			continue
		}
		for _, message := range result.GetMessageExts() {
			printMessage(message)
			seen++
		}
	}
	return seen >= *expect
}
