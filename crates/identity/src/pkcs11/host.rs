//! The process that holds a PKCS#11 module, so that the daemon does not have to.
//!
//! A module is foreign machine code: it may crash, hang or write to stdout. Here it can do no harm. This side is
//! simple: it does what it is asked, with one thread for each token, and ends with the daemon. The daemon decides what
//! to ask, and whether a PIN may be tried at all.
//!
//! The thread that reads requests never calls the module, so it notices the end of the daemon even while the module
//! hangs.

mod token;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::mpsc;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::error::Error as CryptokiError;
use cryptoki::error::RvError;
use cryptoki::slot::Slot;
use cryptoki::slot::TokenInfo;

use super::protocol;
use super::protocol::HostReply;
use super::protocol::HostRequest;
use super::protocol::Library;
use super::protocol::ModuleFault;
use super::protocol::PinOutcome;
use super::protocol::Token;
use super::protocol::TokenName;
use super::protocol::TokenOperation;
use super::protocol::TokenResponse;
use anchord_core::secret::Secret;

/// Serves requests for the module at `path` until `requests` ends, together with the daemon.
///
/// A request that cannot be read is an error: both sides are the same program, so something is badly wrong.
pub(super) fn serve(
    path: &Path,
    mut requests: impl Read,
    replies: impl Write + Send + 'static,
) -> io::Result<()> {
    let module =
        Arc::new(HostedModule { path: path.into(), loaded: OnceLock::new(), started: OnceLock::new() });
    let replies: Arc<Mutex<dyn Write + Send>> = Arc::new(Mutex::new(replies));
    let mut workers: HashMap<Option<u64>, mpsc::Sender<WorkerJob>> = HashMap::new();
    while let Some((request, secret)) = protocol::read::<HostRequest>(&mut requests)? {
        let slot = request.task.place().map(|place| place.slot);
        let pin = (!secret.expose().is_empty()).then_some(secret);
        let worker = match workers.entry(slot) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(start_worker(Arc::clone(&module), Arc::clone(&replies))?),
        };
        if worker.send(WorkerJob { request, pin }).is_err() {
            return Err(io::Error::other("a worker has ended"));
        }
    }
    Ok(())
}

struct WorkerJob {
    request: HostRequest,
    pin: Option<Secret<Vec<u8>>>,
}

fn start_worker(
    module: Arc<HostedModule>,
    replies: Arc<Mutex<dyn Write + Send>>,
) -> io::Result<mpsc::Sender<WorkerJob>> {
    let (sender, jobs) = mpsc::channel::<WorkerJob>();
    std::thread::Builder::new().spawn(move || {
        let mut worker = token::TokenWorker::default();
        for WorkerJob { request, pin } in jobs {
            let HostRequest { number, task, careful } = request;
            let mut login = token::Login { pin: pin.as_ref(), careful, outcome: PinOutcome::Untried };
            let result = module.perform(&task, &mut worker, &mut login);
            let reply = HostReply { number, pin: login.outcome, result };
            let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
            if protocol::write(&mut *replies, &reply, None).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

struct HostedModule {
    path: PathBuf,
    /// Loaded by the first worker that needs it: a library may run code, and hang, while it is loaded.
    loaded: OnceLock<Result<Pkcs11, ModuleFault>>,
    started: OnceLock<Result<Option<Mutex<()>>, ModuleFault>>,
}

impl HostedModule {
    fn perform(
        &self,
        task: &TokenOperation,
        worker: &mut token::TokenWorker,
        login: &mut token::Login<'_>,
    ) -> Result<TokenResponse, ModuleFault> {
        let load = || Pkcs11::new(&self.path).map_err(not_a_module);
        let module = self.loaded.get_or_init(load).as_ref().map_err(Clone::clone)?;
        let one_at_a_time = self.started.get_or_init(|| start(module)).as_ref().map_err(Clone::clone)?;
        let _turn = one_at_a_time.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        match task {
            TokenOperation::Tokens => tokens(module),
            task => worker.perform(module, task, login),
        }
    }
}

/// Starts the module for several threads if it can. Otherwise returns the lock that lets one thread call it at a time
/// (PKCS#11 3.1, 5.4 on `C_Initialize`).
fn start(module: &Pkcs11) -> Result<Option<Mutex<()>>, ModuleFault> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(None),
        Err(CryptokiError::Pkcs11(RvError::CantLock | RvError::NeedToCreateThreads, _)) => module
            .initialize(CInitializeArgs::new(CInitializeFlags::empty()))
            .map(|()| Some(Mutex::new(())))
            .map_err(|error| ModuleFault::Initialize(describe(&error))),
        Err(error) => Err(ModuleFault::Initialize(describe(&error))),
    }
}

fn not_a_module(error: CryptokiError) -> ModuleFault {
    ModuleFault::NotAModule(match error {
        CryptokiError::LibraryLoading(error) => error.to_string(),
        other => describe(&other),
    })
}

/// Function and code, as a vendor's support needs them.
fn describe(error: &CryptokiError) -> String {
    match error {
        CryptokiError::Pkcs11(code, function) => format!("C_{function:?} says {code:?}"),
        other => other.to_string(),
    }
}

fn tokens(module: &Pkcs11) -> Result<TokenResponse, ModuleFault> {
    let failed = |error: CryptokiError| ModuleFault::Failed(describe(&error));
    let info = module.get_library_info().map_err(failed)?;
    let version = info.library_version();
    let library = Library {
        manufacturer: info.manufacturer_id().into(),
        description: info.library_description().into(),
        version: (version.major(), version.minor()),
    };
    let slots = module.get_slots_with_token().map_err(failed)?;
    // A token may be removed between two calls; the others still work.
    let tokens = slots.into_iter().filter_map(|slot| token_in(module, slot).ok().flatten()).collect();
    Ok(TokenResponse::Tokens { library, tokens })
}

/// `None` for uninitialised tokens, which are empty.
fn token_in(module: &Pkcs11, slot: Slot) -> Result<Option<Token>, CryptokiError> {
    let token = module.get_token_info(slot)?;
    if !token.token_initialized() {
        return Ok(None);
    }
    let info = module.get_slot_info(slot)?;
    Ok(Some(Token {
        slot: slot.id(),
        name: name_of(&token),
        slot_description: info.slot_description().into(),
        slot_manufacturer: info.manufacturer_id().into(),
    }))
}

fn name_of(token: &TokenInfo) -> TokenName {
    TokenName {
        label: token.label().into(),
        manufacturer: token.manufacturer_id().into(),
        model: token.model().into(),
        serial: token.serial_number().into(),
    }
}
