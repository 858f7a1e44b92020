//! Appends 1 KiB records on the real disk and prints what one costs, that of the key index too. By hand, in release:
//! `cargo run --release -p halley-store --example append_bench -- DIR [os|sync] [records per batch] [records]`.
//! The directory must be empty or hold a store; what is appended stays there.

// A measuring program: it may look at the clock.
#![allow(clippy::disallowed_methods)]

use halley_model::RecordBody;
use halley_store::{Durability, Options, disk::RealDisk, open};
use std::{error::Error, sync::Arc, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let dir = argument(0).ok_or("give a directory")?;
    let durability = match argument(1) {
        None | Some("os") => Durability::Os,
        Some("sync") => Durability::Sync,
        Some(other) => return Err(format!("{other:?} is neither os nor sync").into()),
    };
    let batch: usize = argument(2).unwrap_or("256").parse()?;
    let records: usize = argument(3).unwrap_or("1000000").parse()?;

    let host = "127.0.0.1:10911".parse()?;
    let mut store = open(Arc::new(RealDisk::new(dir)?), Options::new(durability, host), 1)?;
    let payload = [b'x'; 1024];
    let body = |queue| RecordBody {
        topic: "BenchmarkTest",
        queue,
        flag: 0,
        system_flag: 0,
        born: 1,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: &payload,
        properties: b"UNIQ_KEY\x017F00000100002A9F0000000000001234\x02WAIT\x01true\x02TAGS\x01blue\x02",
        dispatched: false,
    };
    let begin = Instant::now();
    let (mut staging, mut writing, mut indexing) = (0, 0, 0);
    let mut indexed = Instant::now();
    let mut done = 0;
    while done < records {
        let start = Instant::now();
        {
            let mut stage = store.log.stage(1)?;
            for number in 0..batch {
                stage.append(&body(number as u32 % 8))?;
            }
        }
        let staged = Instant::now();
        store.io.run_once(1)?;
        staging += (staged - start).as_nanos();
        writing += staged.elapsed().as_nanos();
        done += batch;
        // As housekeeping does.
        if indexed.elapsed().as_secs() >= 1 {
            indexing += catch_up(&store)?;
            indexed = Instant::now();
        }
    }
    indexing += catch_up(&store)?;
    let each = |nanos: u128| nanos / done as u128;
    println!(
        "{done} records in batches of {batch}, {durability:?}: {} ns each (staging {}, writing {}, indexing keys {}), {:.0} per second",
        each(begin.elapsed().as_nanos()),
        each(staging),
        each(writing),
        each(indexing),
        done as f64 / begin.elapsed().as_secs_f64()
    );
    Ok(())
}

fn catch_up(store: &halley_store::Opened<RealDisk>) -> Result<u128, Box<dyn Error>> {
    let start = Instant::now();
    store.keys.catch_up()?;
    Ok(start.elapsed().as_nanos())
}
