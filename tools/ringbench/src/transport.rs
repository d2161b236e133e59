//! A connection's bytes: plain TCP, or TLS over it, with one non-blocking face for clients and servers.
//!
//! Used by the load workers and the embedded servers. It never waits: what the socket cannot take or give now is `WouldBlock`.

use rustls::{Connection, HandshakeKind, ProtocolVersion};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// One established TCP connection, with or without TLS on top.
#[derive(Debug)]
pub enum Transport {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Bytes in TLS records.
    Tls(Box<TlsStream>),
}

/// A socket and its TLS session.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Connection,
    /// The end, or an error, was met behind bytes that were returned first.
    end_is_next: bool,
}

/// Room that the plaintext of one read from the socket never exceeds: a record has 16 KiB, and few are taken at once.
const ROOM_BYTES: usize = 64 * 1024;

impl Transport {
    /// Puts TLS on top of a non-blocking socket; the handshake begins with the first `handshake`, `read` or `write`.
    pub fn secured(socket: TcpStream, session: Connection) -> Self {
        Self::Tls(Box::new(TlsStream { socket, session, end_is_next: false }))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.socket,
        }
    }

    /// Carries a TLS handshake on as far as the socket allows; true when it is complete and everything it says has been sent.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` when the peer's certificate or messages are not acceptable; `UnexpectedEof` when it went away.
    pub fn handshake(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(stream) => stream.handshake(),
        }
    }

    /// Reads what there is; 0 at an orderly end.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing yet; else as `handshake`.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    /// True when the next `read` has something to say although the socket is silent: the end came together with the last bytes.
    pub fn end_is_next(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.end_is_next,
        }
    }

    /// Writes what there is room for. Over TLS the bytes may still wait in the session: see `wants_write`.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; else those of the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// True while records wait for room in the socket.
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.session.wants_write(),
        }
    }

    /// Sends waiting records as far as there is room.
    ///
    /// # Errors
    /// Those of the socket, but never `WouldBlock`.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Says that nothing more will be sent; reading goes on. Best effort: when the connection is gone the next read says why.
    pub fn end_writing(&mut self) {
        match self {
            Self::Plain(socket) => drop(socket.shutdown(Shutdown::Write)),
            Self::Tls(stream) => {
                stream.session.send_close_notify();
                drop(stream.flush());
            }
        }
    }

    /// How the TLS handshake went: true when an earlier session was resumed; none without TLS or before its end.
    pub fn resumed(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.session.handshake_kind().map(|kind| kind == HandshakeKind::Resumed),
        }
    }

    /// True when the server's tickets come after the handshake (TLS 1.3) instead of in it.
    pub fn tickets_come_late(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl TlsStream {
    fn handshake(&mut self) -> io::Result<bool> {
        loop {
            self.flush()?;
            if !self.session.is_handshaking() {
                return Ok(!self.session.wants_write());
            }
            if self.session.wants_write() {
                return Ok(false);
            }
            match self.receive() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Drains socket and session in turns, as the session holds little plaintext at once. Stops while all of one more turn would not fit:
    /// plaintext left behind would make no event.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            match self.session.reader().read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(count) if count > 0 => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                end => {
                    self.end_is_next = filled > 0;
                    return if filled > 0 { Ok(filled) } else { end };
                }
            }
            if filled > 0 && buffer.len() - filled < ROOM_BYTES {
                // The goodbye may have come in the record just drained.
                self.end_is_next = self.session.process_new_packets().is_ok_and(|state| state.peer_has_closed());
                return Ok(filled);
            }
            if let Err(error) = self.receive() {
                self.end_is_next = filled > 0 && error.kind() != io::ErrorKind::WouldBlock;
                return if filled > 0 { Ok(filled) } else { Err(error) };
            }
        }
    }

    /// Takes bytes from the socket into the session; 0 at the socket's end.
    fn receive(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.socket)?;
        if let Err(error) = self.session.process_new_packets() {
            // The peer shall hear why.
            drop(self.flush());
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        // A handshake that is under way, or a key update, may have something to say.
        self.flush()?;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
