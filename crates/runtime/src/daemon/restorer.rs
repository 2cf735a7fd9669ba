//! What a daemon has in the file system: its runtime directory with its secrets, and its socket. Both can be deleted
//! under it, by a cleaner of old files or by hand, and are made again then.

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

/// The runtime directory, and the socket where the daemon has bound one itself.
#[derive(Debug)]
pub(super) struct Restorer {
    directory: Arc<RuntimeDirectory>,
    socket: Option<SocketFile>,
    /// What was told last, so that a trouble that stays is told once.
    told: Option<Failure>,
}

impl Restorer {
    pub(super) fn new(directory: Arc<RuntimeDirectory>, socket: Option<SocketFile>) -> Self {
        Self { directory, socket, told: None }
    }

    /// Looks after them until `stop` is true, each time `look_now` is notified and every few seconds. Then it gives up
    /// the socket. A directory that is made anew gets the `secrets` in force.
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
            // Without a limit: a look that hangs is the only one until it ends.
            let mut looking = tokio::task::spawn_blocking(move || look(&directory, &secrets, place.as_ref()));
            let looked = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                looked = &mut looking => looked,
            };
            let looked =
                looked.unwrap_or_else(|_| Err(Error::Broken("looking after the socket panicked".into())));
            let outcome = looked.and_then(|bound| self.take(bound));
            self.tell(outcome.err().map(Failure::from));
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

    fn tell(&mut self, failure: Option<Failure>) {
        if let Some(failure) = failure.as_ref().filter(|failure| self.told.as_ref() != Some(failure)) {
            let (error, hint) = (failure.message(), failure.hint());
            warn!(
                event = event::RUNTIME_DIRECTORY_NOT_RESTORED,
                error, hint, "The runtime directory or the Unix socket was deleted and cannot be made again"
            );
        }
        self.told = failure;
    }
}

/// Brings back what was deleted; the socket, if it had to be bound again.
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
