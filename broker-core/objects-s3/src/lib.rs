//! A bucket of Amazon's S3, or of a server that speaks its protocol, as [`Objects`].
//!
//! The protocol, its signatures, credentials and repetitions are `object_store`'s; connections and TLS are those that the rest
//! of Halley has ([`http`]). Calls block: the bucket has a thread of its own that waits for the network.

#![allow(clippy::disallowed_methods, reason = "this is a shell: it has sockets")]

mod http;

use bytes::Bytes;
use futures_util::TryStreamExt;
use halley_store::objects::{Object, ObjectError, Objects};
use object_store::{
    ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use std::{future::Future, io::Read, time::Duration};
use tokio::{runtime::Runtime, time::timeout};

/// What is longer is put in parts of so many bytes. S3 takes 10,000 parts, so that 80 GiB are possible, and a segment has 4 at most.
const PART_BYTES: usize = 8 << 20;
/// So many parts are on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// A request that fails in a way that may pass is made so often again, within this time.
const TRIES_MORE: usize = 6;
const TRIES_MAX: Duration = Duration::from_secs(60);
/// A call, with all of its tries, ends after this time.
const CALL_MAX: Duration = Duration::from_secs(180);

/// A bucket, or what has names with a certain beginning in it.
#[derive(Debug)]
pub struct S3 {
    bucket: AmazonS3,
    prefix: Path,
    runtime: Runtime,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The address is none of a bucket.
    #[error("{0} is not the address of a bucket: s3://BUCKET or s3://BUCKET/PREFIX is")]
    Address(String),
    /// The settings in the environment are not enough, or wrong.
    #[error(
        "{0}; see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL in the environment"
    )]
    Settings(#[from] object_store::Error),
    /// No thread can be had.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

impl S3 {
    /// The bucket at `s3://BUCKET/PREFIX`. Region, endpoint and credentials are those of the environment, by the names that
    /// Amazon's tools use, or of the machine (web identity, container, instance). Nothing is asked of the bucket yet.
    pub fn open(address: &str) -> Result<Self, S3Error> {
        let wrong = || S3Error::Address(address.to_owned());
        let path = address.strip_prefix("s3://").ok_or_else(wrong)?;
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return Err(wrong());
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| wrong())?;
        let bucket = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_retry(RetryConfig {
                max_retries: TRIES_MORE,
                retry_timeout: TRIES_MAX,
                ..RetryConfig::default()
            })
            .with_http_connector(http::Connector)
            .build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { bucket, prefix, runtime })
    }

    fn at(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Waits for a call's end.
    fn wait<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, ObjectError> {
        let ended = self.runtime.block_on(async { timeout(CALL_MAX, call).await });
        match ended {
            Ok(done) => done.map_err(|error| failed(name, &error)),
            Err(_) => Err(ObjectError::failed(name, format!("no answer within {} s", CALL_MAX.as_secs()))),
        }
    }

    /// Puts a long object in parts; it is there once the last one is.
    fn put_parts(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
        let upload = self.wait(name, self.bucket.put_multipart(&self.at(name)))?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut left = len;
        while left > 0 {
            let part = match read_part(name, left, from) {
                Ok(part) => part,
                Err(error) => {
                    // What was put of it is of no use. If it stays, it is the bucket's to remove.
                    let _ = self.wait(name, parts.abort());
                    return Err(error);
                }
            };
            left -= part.len() as u64;
            self.wait(name, parts.wait_for_capacity(PARTS_AT_ONCE))?;
            let _inside = self.runtime.enter();
            parts.put(part);
        }
        self.wait(name, parts.finish()).map(drop)
    }
}

impl Objects for S3 {
    fn put(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
        if len > PART_BYTES as u64 {
            return self.put_parts(name, len, from);
        }
        let bytes = read_part(name, len, from)?;
        self.wait(name, self.bucket.put(&self.at(name), bytes.into())).map(drop)
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<usize, ObjectError> {
        let range = at..at + into.len() as u64;
        let bytes = self.wait(name, self.bucket.get_range(&self.at(name), range))?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, ObjectError> {
        let place = self.at(folder);
        let listed = self.wait(folder, self.bucket.list(Some(&place)).try_collect::<Vec<_>>())?;
        let name = |path: &Path| {
            Some(format!("{folder}/{}", path.as_ref().strip_prefix(place.as_ref())?.strip_prefix('/')?))
        };
        let mut found: Vec<_> = listed
            .iter()
            .filter_map(|object| Some(Object { name: name(&object.location)?, len: object.size }))
            .collect();
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), ObjectError> {
        match self.wait(name, self.bucket.delete(&self.at(name))) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The next part of an object of which `left` bytes are left.
fn read_part(name: &str, left: u64, from: &mut dyn Read) -> Result<Bytes, ObjectError> {
    let mut part = vec![0; PART_BYTES.min(usize::try_from(left).unwrap_or(PART_BYTES))];
    from.read_exact(&mut part).map_err(|error| ObjectError::failed(name, error))?;
    Ok(part.into())
}

fn failed(name: &str, error: &object_store::Error) -> ObjectError {
    match error {
        // A bucket that does not exist is not found either.
        object_store::Error::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket") => {
            ObjectError::NotFound { name: name.to_owned() }
        }
        error => ObjectError::failed(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets() {
        for (address, prefix) in [("s3://b", ""), ("s3://b/", ""), ("s3://b/x/y/", "x/y"), ("s3://b/x", "x")]
        {
            let opened = S3::open(address).unwrap();
            assert_eq!(opened.prefix.as_ref(), prefix, "{address}");
            assert_eq!(
                opened.at("log/1.seg").as_ref(),
                format!("{prefix}/log/1.seg").trim_start_matches('/')
            );
        }
        for address in ["s3://", "s3:///x", "b/x", "/tmp", "s3://b/x//y"] {
            assert!(matches!(S3::open(address), Err(S3Error::Address(_))), "{address}");
        }
    }

    /// Against a real server: `HALLEY_TEST_S3` is the address of an empty place in a bucket, `AWS_…` say where and who.
    #[test]
    fn a_real_bucket_conforms() {
        let Ok(address) = std::env::var("HALLEY_TEST_S3") else {
            eprintln!("skipped: a real bucket, HALLEY_TEST_S3 names none");
            return;
        };
        halley_store::objects::conformance::check(&S3::open(&format!("{address}/conformance")).unwrap());
    }
}
