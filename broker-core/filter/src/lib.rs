//! RocketMQ tag and SQL92 expressions: parsed once, evaluated per message.
