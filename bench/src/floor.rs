//! The floor probe: the least a broker can do for a send, over the same bytes.
//!
//! Each connection reads what there is, decodes every frame and finds its topic, properties and body, encodes the
//! records, writes them with one `pwrite` behind those of the others, and answers with a reply of the real size.
//! No topics, no queue index, no recovery, no checks: what Halley adds to this is what a broker costs.

use crate::Error;
use bytes::{Buf, BytesMut};
use clap::Args;
use halley_model::{RecordBody, record::Place};
use halley_wire::{ResponseCode, frame, reply::SendMessageResponse};
use std::{
    fs::File,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Where the log starts anew, so that a long run does not fill the disk.
const LOG_BYTES: u64 = 1 << 30;

/// Where to serve.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The address, to be given to `halley bench send --broker`
    #[arg(long, default_value = "127.0.0.1:10999")]
    listen: SocketAddr,
    /// The file to write records to; it is emptied
    #[arg(long, default_value = "floor.log")]
    file: PathBuf,
}

/// Serves until the process ends.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| Error::of("listen", error))?;
    let file = File::create(&arguments.file).map_err(|error| Error::of("the log file", error))?;
    let log = Arc::new(Log { file, end: AtomicU64::new(0) });
    loop {
        let (stream, peer) = listener.accept().await.map_err(|error| Error::of("accept", error))?;
        let log = log.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, peer, &log).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

struct Log {
    file: File,
    end: AtomicU64,
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, log: &Log) -> Result<(), Error> {
    stream.set_nodelay(true).map_err(Error::new)?;
    let mut input = BytesMut::new();
    let (mut records, mut replies) = (BytesMut::new(), BytesMut::new());
    loop {
        input.reserve(64 * 1024);
        if stream.read_buf(&mut input).await.map_err(|error| Error::of("read", error))? == 0 {
            return Ok(());
        }
        let mut used = 0;
        while let Some((frame, len)) =
            frame::decode(&input[used..], &frame::Limits::default()).map_err(Error::new)?
        {
            used += len;
            handle(&frame, peer, &mut records, &mut replies)?;
        }
        input.advance(used);
        let at = log.end.fetch_add(records.len() as u64, Ordering::Relaxed) % LOG_BYTES;
        log.file.write_all_at(&records, at).map_err(|error| Error::of("write", error))?;
        records.clear();
        stream.write_all(&replies).await.map_err(|error| Error::of("write", error))?;
        replies.clear();
    }
}

fn handle(
    frame: &frame::Frame<'_>,
    peer: SocketAddr,
    records: &mut BytesMut,
    replies: &mut BytesMut,
) -> Result<(), Error> {
    let [topic, queue, born, properties] = frame.ext.pick(["b", "e", "g", "i"]);
    let topic = topic.text().map_err(Error::new)?;
    let properties = properties.text_opt().unwrap_or_default();
    let record = RecordBody {
        topic: &topic,
        queue: queue.i32().map_err(Error::new)? as u32,
        flag: 0,
        system_flag: 0,
        born: born.i64().map_err(Error::new)?,
        born_host: peer,
        reconsume_times: 0,
        prepared_offset: 0,
        body: frame.body,
        properties: properties.as_bytes(),
        dispatched: false,
    };
    record.encode(&Place { queue_offset: 1, log_offset: 1, stored: record.born, store_host: peer }, records);
    let answer = SendMessageResponse {
        message_id: "7F00000100002A9F0000000000001234".into(),
        queue_id: record.queue as i32,
        queue_offset: 1,
        transaction_id: None,
        recall_handle: None,
        batch_unique_id: None,
    };
    let code = ResponseCode::Success;
    halley_wire::encode_reply(replies, frame.serialize, code, frame.opaque, None, &answer.fields(), b"");
    Ok(())
}
