//! Runs one operation on a TPM at a time, each with a time limit.
//!
//! A TPM does one thing at a time, and an emulator serves one connection at a time. So operations of this process wait
//! here. Each runs on its own thread, because nothing else can limit its time: while a TPM works, the kernel holds a
//! lock that blocks poll(2) on the device too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::Device;
use super::Error;

/// For opening a key: loading an identity has five seconds.
pub(super) const OPENING: Duration = Duration::from_secs(4);

/// For a signature.
pub(super) const SIGNING: Duration = Duration::from_secs(10);

/// Extra time for the thread to return its own error, and to flush objects.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// The time limit of an operation, including the wait for the TPM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) deadline: Instant,
    /// The whole time, for messages.
    pub(super) patience: Duration,
}

impl Limit {
    pub(super) fn of(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, patience }
    }

    pub(super) fn remaining(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The error that it has passed without an answer of `device`.
    pub(super) fn passed(self, device: &Device) -> Error {
        Error::Silent { device: device.clone(), patience: self.patience }
    }
}

/// The state of each TPM that this process has used, of which there are as many as its settings have named.
static DEVICES: Mutex<BTreeMap<Device, Arc<DeviceState>>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct DeviceState {
    is_locked: Mutex<bool>,
    unlocked: Condvar,
}

/// The lock of a TPM, released when dropped.
struct DeviceLock(Arc<DeviceState>);

impl DeviceLock {
    fn take(device: &Device, limit: Limit) -> Option<Self> {
        let state = Arc::clone(
            DEVICES.lock().unwrap_or_else(PoisonError::into_inner).entry(device.clone()).or_default(),
        );
        let is_locked = state.is_locked.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut is_locked, _) = state
            .unlocked
            .wait_timeout_while(is_locked, limit.patience, |is_locked| *is_locked)
            .unwrap_or_else(PoisonError::into_inner);
        if *is_locked {
            return None;
        }
        *is_locked = true;
        drop(is_locked);
        Some(Self(state))
    }
}

impl Drop for DeviceLock {
    fn drop(&mut self) {
        *self.0.is_locked.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.unlocked.notify_one();
    }
}

/// Runs `operation` when the TPM is free. An operation that exceeds its time keeps the lock until it ends. So a TPM
/// that hangs costs one thread, however often it is used.
pub(super) fn run<T: Send + 'static>(
    device: &Device,
    patience: Duration,
    operation: impl FnOnce(&Device, Limit) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let limit = Limit::of(patience);
    let lock = DeviceLock::take(device, limit).ok_or_else(|| limit.passed(device))?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let on_thread = device.clone();
    let work = move || {
        let _lock = lock;
        // The receiver is gone if it took too long.
        let _ = sender.send(operation(&on_thread, limit));
    };
    if thread::Builder::new().name("tpm".into()).spawn(work).is_err() {
        return Err(Error::Broken { device: device.clone() });
    }
    receiver.recv_timeout(limit.remaining() + GRACE).unwrap_or_else(|error| match error {
        mpsc::RecvTimeoutError::Timeout => Err(limit.passed(device)),
        mpsc::RecvTimeoutError::Disconnected => Err(Error::Broken { device: device.clone() }),
    })
}
