package main

import (
	"context"
	"fmt"
	"os"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func main() {
	server := append(os.Args[1:], "127.0.0.1:9876")[:1]
	c, err := rocketmq.NewPushConsumer(consumer.WithGroupName("go-example"), consumer.WithNameServer(server), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		panic(err)
	}
	print := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			fmt.Println(m.GetProperty("ce_type"), string(m.Body))
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := c.Subscribe("BUS_orders", consumer.MessageSelector{}, print); err != nil {
		panic(err)
	}
	if err := c.Start(); err != nil {
		panic(err)
	}
	select {}
}
