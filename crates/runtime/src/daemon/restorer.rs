//! Recreates the daemon's runtime directory, the secrets in it, and the socket, if a cleaner of old files or a person
//! deletes them while the daemon runs.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tracing::info;
use tracing::warn;

use super::Error;
use super::runtime_directory::RuntimeDirectory;
use super::secrets::Secrets;
use super::sockets::SocketFile;
use super::sockets::SocketPlace;
use anchord_core::event;
use anchord_core::failure::Failure;

/// Checks the runtime directory, and the socket if the daemon has bound one itself.
#[derive(Debug)]
pub(super) struct Restorer {
    directory: Arc<RuntimeDirectory>,
    socket: Option<SocketFile>,
    /// The failure that was logged last, so that a failure that persists is logged once.
    logged: Option<Failure>,
}

impl Restorer {
    pub(super) fn new(directory: Arc<RuntimeDirectory>, socket: Option<SocketFile>) -> Self {
        Self { directory, socket, logged: None }
    }

    /// Checks them every few seconds and when `look_now` is notified, until `stop` is true. Then it removes the socket.
    /// A recreated directory gets the current `secrets`.
    pub(super) async fn keep(
        mut self,
        mut stop: watch::Receiver<bool>,
        look_now: Arc<Notify>,
        secrets: watch::Receiver<Arc<Secrets>>,
    ) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = look_now.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let directory = Arc::clone(&self.directory);
            let place = self.socket.as_ref().map(SocketFile::place).cloned();
            let secrets = Arc::clone(&secrets.borrow());
            // No time limit: while a check hangs, no other one starts.
            let mut looking = tokio::task::spawn_blocking(move || look(&directory, &secrets, place.as_ref()));
            let looked = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                looked = &mut looking => looked,
            };
            let looked = looked.unwrap_or_else(|_| {
                Err(Error::Broken("checking the runtime directory and the socket panicked".into()))
            });
            let outcome = looked.and_then(|bound| self.take(bound));
            self.log(outcome.err().map(Failure::from));
        }
    }

    fn take(&mut self, bound: Option<(UnixListener, SocketPlace)>) -> Result<(), Error> {
        if let (Some((listener, place)), Some(socket)) = (bound, &mut self.socket) {
            socket.move_to(listener, place)?;
            let path = socket.place().path().display();
            info!(
                event = event::LISTENER_SOCKET_REPLACED,
                %path, "The Unix socket was deleted; listening on a new one"
            );
        }
        Ok(())
    }

    fn log(&mut self, failure: Option<Failure>) {
        if let Some(failure) = failure.as_ref().filter(|failure| self.logged.as_ref() != Some(failure)) {
            let (error, hint) = (failure.message(), failure.hint());
            warn!(
                event = event::RUNTIME_DIRECTORY_NOT_RESTORED,
                error, hint, "The runtime directory or the Unix socket was deleted, and cannot be recreated"
            );
        }
        self.logged = failure;
    }
}

/// Recreates what was deleted. Returns the new socket, if it was bound again.
fn look(
    directory: &RuntimeDirectory,
    secrets: &Secrets,
    socket: Option<&SocketPlace>,
) -> Result<Option<(UnixListener, SocketPlace)>, Error> {
    directory.restore(secrets)?;
    match socket {
        Some(place) => Ok(place.bind_again()?),
        None => Ok(None),
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(5);
