//! One request and its response over a connection to a broker.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Both without the length that goes before them.
pub(super) async fn exchange<S>(
    stream: &mut S,
    request: Vec<u8>,
    response_bytes_max: usize,
) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut framed = u32::try_from(request.len()).unwrap_or_default().to_be_bytes().to_vec();
    framed.extend(request);
    stream.write_all(&framed).await?;
    stream.flush().await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > response_bytes_max {
        return Err(unreadable(&format!("{length} bytes are more than it can have")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

pub(super) fn unreadable(wrong: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("its answer cannot be read: {wrong}"))
}
