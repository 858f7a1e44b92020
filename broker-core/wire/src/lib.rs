//! RocketMQ Remoting frames, headers, codes and bodies: bytes to values and back.
